export * from "@/run/spec-order";
