import { createTheme, type MantineColorsTuple } from "@mantine/core";

/** A deep lake's colour; shade 8 carries white text at more than 4.5:1. */
const lake: MantineColorsTuple = [
  "#e6f6f8",
  "#d3e9ed",
  "#a8d2da",
  "#7abac6",
  "#54a6b6",
  "#3c9aac",
  "#2c94a8",
  "#1b8093",
  "#0b7285",
  "#006375",
];

/** Mantine's neutral greys with a trace of blue, so that dark cards do not look brown beside the lake. */
const dark: MantineColorsTuple = [
  "#d5dbe1",
  "#b9c2cb",
  "#9aa6b2",
  "#6b7783",
  "#3d4852",
  "#2b333b",
  "#232a31",
  "#171c21",
  "#10151a",
  "#0b0f13",
];

export const theme = createTheme({
  primaryColor: "lake",
  primaryShade: { light: 8, dark: 6 },
  colors: { lake, dark },
  autoContrast: true,
  fontFamily: '"Inter Variable", system-ui, sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, monospace',
  headings: { fontFamily: '"Inter Variable", system-ui, sans-serif', fontWeight: "650" },
  defaultRadius: "md",
  cursorType: "pointer",
  respectReducedMotion: true,
});
