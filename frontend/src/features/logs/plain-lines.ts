// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;

/** Lines without terminal colours; of a line that a progress bar wrote over itself only the last state is left. */
export function plainLines(lines: readonly string[]): string[] {
  return lines.map((line) => {
    const plain = line.replace(ESCAPES, "").replace(/\r+$/, "");
    return plain.slice(plain.lastIndexOf("\r") + 1);
  });
}
