import type { GatewayHealth, GatewayKey } from "../../src/api/types";

export const health: GatewayHealth;
export const gatewayKeys: GatewayKey[];
