/** Text in which `g_v` is written with a subscript, as in "‖g_v‖ / ‖g‖". */
export function MathText({ children }: { children: string }) {
  return children.split(/(_\w)/).map((part, index) =>
    // biome-ignore lint/suspicious/noArrayIndexKey: the parts of one text never move
    part.startsWith("_") ? <sub key={index}>{part.slice(1)}</sub> : part,
  );
}
