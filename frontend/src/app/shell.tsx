import { Link, Outlet } from "@tanstack/react-router";
import { BasinMark } from "@/components/icons";
import { UserMenu } from "@/features/session/components/user-menu";
import { ConnectionBanner } from "@/live/connection-banner";
import { ColorSchemeMenu } from "./color-scheme-menu";
import classes from "./shell.module.css";
import { Shortcuts } from "./shortcuts";

/** The frame of every page: header, banner, content. */
export function Shell() {
  return (
    <>
      <a href="#content" className={classes.skip}>
        Skip to the content
      </a>
      <header className={classes.header}>
        <div className={classes.bar}>
          <Link to="/" className={classes.brand} aria-label="Basin, all runs">
            <BasinMark />
            <span>Basin</span>
          </Link>
          <nav aria-label="Pages" className={classes.nav}>
            <Link to="/" activeOptions={{ exact: true, includeSearch: false }} activeProps={{ "aria-current": "page" }}>
              Runs
            </Link>
            <Link to="/studies" activeOptions={{ includeSearch: false }} activeProps={{ "aria-current": "page" }}>
              Studies
            </Link>
            <Link to="/compare" activeOptions={{ includeSearch: false }} activeProps={{ "aria-current": "page" }}>
              Compare
            </Link>
            <Link to="/submit" activeProps={{ "aria-current": "page" }}>
              New run
            </Link>
          </nav>
          <div className={classes.tools}>
            <ColorSchemeMenu />
            <UserMenu />
          </div>
        </div>
      </header>
      <ConnectionBanner />
      <Shortcuts />
      <main id="content" className={classes.content} tabIndex={-1}>
        <Outlet />
      </main>
    </>
  );
}
