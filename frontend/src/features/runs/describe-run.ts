export * from "@/run/describe-run";
