import "@fontsource-variable/inter/wght.css";
import "@mantine/core/styles.css";
import "./app/theme.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app/app";
import { takeTokenFromLink } from "./features/session/token-in-link";

// Before anything else reads the address: the token must not reach the router or the history.
const linkToken = takeTokenFromLink(window.location, window.history);
const root = document.getElementById("root");
if (!root) throw new Error("index.html has no element with id root");
createRoot(root).render(
  <StrictMode>
    <App linkToken={linkToken} />
  </StrictMode>,
);
