export * from "@/api/metrics";
