import type { ModelGroup, ModelProvider } from "../../src/api/types";

export const modelProviders: ModelProvider[];
export const modelGroups: ModelGroup[];
