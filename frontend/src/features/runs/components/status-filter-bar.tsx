import { SegmentedControl } from "@mantine/core";
import { STATUS_FILTERS, type StatusFilter } from "../run-list-search";

const CHOICES = [
  { value: "", label: "All" },
  ...Object.keys(STATUS_FILTERS).map((value) => ({ value, label: value.charAt(0).toUpperCase() + value.slice(1) })),
];

interface StatusFilterBarProps {
  value: StatusFilter | undefined;
  onChange: (value: StatusFilter | undefined) => void;
}

/** Chooses which runs the list shows. */
export function StatusFilterBar({ value, onChange }: StatusFilterBarProps) {
  return (
    <SegmentedControl
      aria-label="Filter by status"
      size="xs"
      data={CHOICES}
      value={value ?? ""}
      onChange={(chosen) => onChange(chosen === "" ? undefined : (chosen as StatusFilter))}
    />
  );
}
