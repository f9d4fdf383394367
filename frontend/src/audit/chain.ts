import type { AuditPage, AuditVerdict } from "../api/types";

/** What is known of the chain: three states, and only one of them is green. */
export type ChainState =
  | { kind: "intact"; at: string | null }
  | { kind: "broken"; position: number | null; reason: string; at: string | null }
  | { kind: "unknown" };

/** The verdict of this moment counts; else what the last verification, by whomever, has found. */
export function chainState(chain: AuditPage["chain"], verdict: AuditVerdict | undefined): ChainState {
  const at = chain.verified_at ?? null;
  if (verdict) return verdict.ok ? { kind: "intact", at } : { kind: "broken", position: verdict.first_bad?.position ?? null, reason: verdict.first_bad?.reason ?? "", at };
  if (chain.verified_ok === false) return { kind: "broken", position: null, reason: "", at };
  if (chain.verified_ok === true && at !== null) return { kind: "intact", at };
  return { kind: "unknown" };
}
