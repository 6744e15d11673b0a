import type { Run, RunEdit } from "@/api/types";

/** What stands in the fields of the edit form. */
export interface EditFields {
  name: string;
  study: string;
  priority: string;
}

export function editFieldsOf(run: Pick<Run, "name" | "study" | "priority">): EditFields {
  return { name: run.name, study: run.study ?? "", priority: String(run.priority) };
}

/** The change to ask for, of fields that differ alone; null where nothing does. An empty study takes the run out. */
export function editOf(run: Pick<Run, "name" | "study" | "priority">, fields: EditFields): RunEdit | null {
  const edit: RunEdit = {};
  const name = fields.name.trim();
  const study = fields.study.trim();
  const priority = Number(fields.priority);
  if (name !== run.name) edit.name = name;
  if (study !== (run.study ?? "")) edit.study = study === "" ? null : study;
  if (fields.priority.trim() !== "" && priority !== run.priority) edit.priority = priority;
  return Object.keys(edit).length > 0 ? edit : null;
}

/** Why the fields cannot be sent; null where they can. The API judges the rest. */
export function editFault(fields: EditFields): { field: keyof EditFields; words: string } | null {
  if (fields.name.trim() === "") return { field: "name", words: "A run needs a name." };
  const isWhole = /^[-+]?\d{1,4}$/.test(fields.priority.trim());
  if (!isWhole || Math.abs(Number(fields.priority)) > 1000) {
    return { field: "priority", words: "A whole number from -1000 to 1000." };
  }
  return null;
}
