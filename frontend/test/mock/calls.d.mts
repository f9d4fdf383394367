import type { CallWay, UsageCall } from "../../src/api/types";

export const usageCalls: UsageCall[];
export function callWay(call: string): CallWay | null;
