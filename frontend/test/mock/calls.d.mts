import type { UsageCall } from "../../src/api/types";

export const usageCalls: UsageCall[];
