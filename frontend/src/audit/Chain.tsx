import { useQuery, useQueryClient } from "@tanstack/react-query";
import { clsx } from "clsx";
import { ShieldAlert, ShieldCheck, ShieldQuestion } from "lucide-react";
import { api } from "../api/client";
import { keys } from "../api/keys";
import type { AuditPage, AuditVerdict } from "../api/types";
import { shortHash } from "../format";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { InlineError } from "../ui/feedback";
import { Ago } from "../ui/time";
import { chainState } from "./chain";

const LOOK = {
  intact: { icon: ShieldCheck, card: "border-ok/40", text: "text-ok" },
  broken: { icon: ShieldAlert, card: "border-bad/60 bg-bad-wash", text: "text-bad" },
  unknown: { icon: ShieldQuestion, card: "", text: "text-faint" },
} as const;

/** How far the chain is sealed, and whether anybody has looked that it is whole. */
export function Chain({ projectId, chain, readAt }: { projectId: string; chain: AuditPage["chain"]; readAt: number }) {
  const client = useQueryClient();
  const verify = useQuery({
    queryKey: ["audit-verdict", projectId],
    queryFn: async ({ signal }) => {
      const verdict = await api<AuditVerdict>(`/projects/${projectId}/audit/verify`, { method: "POST", json: {}, signal });
      void client.invalidateQueries({ queryKey: keys.audit(projectId) });
      return verdict;
    },
    // Known to be broken: where, is asked without being told to.
    enabled: chain.verified_ok === false,
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  });
  // What was read after the verdict and says otherwise is newer than it.
  const verdict = verify.data && (verify.dataUpdatedAt >= readAt || verify.data.ok === chain.verified_ok) ? verify.data : undefined;
  const state = chainState(chain, verdict);
  const { icon: Icon, card, text } = LOOK[state.kind];
  return (
    <section aria-label={t.audit.chain(chain.position)} data-chain={state.kind} className={clsx("card mb-4 flex flex-wrap items-center gap-x-4 gap-y-2 p-4", card)}>
      <Icon size={22} aria-hidden="true" className={clsx("shrink-0", text)} />
      <div className="min-w-0 flex-1 basis-64">
        <p role="status" className={clsx("font-semibold", state.kind === "unknown" ? "" : text)}>
          {state.kind === "intact" ? t.audit.intact(verdict?.entries ?? null) : state.kind === "broken" ? t.audit.broken(state.position, state.reason) : t.audit.never}
        </p>
        <p className="text-soft">
          {t.audit.chain(chain.position)} <code className="font-mono text-xs" title={chain.hash}>{shortHash(chain.hash)}</code>
          {chain.sealed ? "" : `, ${t.audit.notAllSealed}`}{chain.verified_at ? <>, {t.audit.verifiedAt} <Ago at={chain.verified_at} /></> : ""}
        </p>
      </div>
      <Button busy={verify.isFetching} onClick={() => void verify.refetch()}>{verify.isFetching ? t.audit.verifying : t.audit.verify}</Button>
      {verify.isError ? <div className="w-full"><InlineError error={verify.error} onRetry={() => void verify.refetch()} /></div> : null}
    </section>
  );
}
