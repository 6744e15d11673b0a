import { Document, visit } from "yaml";

/** A spec as YAML as a person would write it: sections as blocks, lists on one line. */
export function specYaml(value: Record<string, unknown>): string {
  const document = new Document(value);
  visit(document, {
    Seq: (_key, list) => {
      list.flow = true;
    },
  });
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}
