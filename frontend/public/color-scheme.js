// Runs before the first paint so that a dark page never flashes white. A file of its own: the
// Content-Security-Policy allows no inline script. The key is Mantine's own.
(() => {
  const stored = window.localStorage.getItem("mantine-color-scheme-value");
  const chosen = stored === "light" || stored === "dark" ? stored : null;
  const scheme = chosen ?? (window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.setAttribute("data-mantine-color-scheme", scheme);
})();
