export * from "@/run/status-pill";
