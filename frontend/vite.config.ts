import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import { contract } from "./contract-plugin.ts";

/** Where `npm run dev` sends API requests: the address that `basin up` prints. */
const api = process.env.BASIN_API_URL ?? "http://127.0.0.1:8000";

function isOnEveryPage(file: string): boolean {
  return /node_modules\/(?!uplot|yaml|@codemirror|@lezer|@marijn|style-mod|w3c-keyname|crelt)/.test(file);
}

export default defineConfig({
  plugins: [react(), contract()],
  resolve: { alias: { "@": new URL("./src", import.meta.url).pathname } },
  server: { host: "127.0.0.1", proxy: { "/api": { target: api, changeOrigin: true } } },
  build: {
    target: ["chrome123", "firefox120", "safari17.5"],
    // Fonts inlined as data: URIs would be refused by the Content-Security-Policy.
    assetsInlineLimit: 0,
    // One sheet for all pages: a page's own that fails to load while the server is away would never be asked for again.
    cssCodeSplit: false,
    chunkSizeWarningLimit: 700,
    // Mantine, React and the router are one vendor file that stays cached when only our code changes. What only some
    // pages need (charts, YAML, the editor) comes with those.
    rolldownOptions: { output: { codeSplitting: { groups: [{ name: "vendor", test: isOnEveryPage }] } } },
  },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
});
