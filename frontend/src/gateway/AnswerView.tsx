import { clsx } from "clsx";
import { CircleAlert } from "lucide-react";
import type { AnswerEnd, AnswerHead } from "../api/types";
import { count } from "../format";
import { t } from "../i18n/en";
import { Disclosure } from "../ui/disclosure";
import { Cost, Simulated } from "../ui/entity";
import { Notice } from "../ui/feedback";
import { Badge } from "../ui/status";
import type { Answer } from "./answer";
import { causesIn } from "./health";
import type { Phase } from "./useAnswer";
import { WayTable } from "./Way";

/** An answer, while it is made and when it is whole. */
export function AnswerView({ phase, answer: { head, text, thinking, end } }: { phase: Phase; answer: Answer }) {
  const asking = phase === "asking";
  const simulated = head?.simulated ?? end?.attempts.some((attempt) => attempt.simulated);
  return (
    <>
      <div className="card" data-answer={phase}>
        <div className="flex min-h-10 flex-wrap items-center gap-2 border-b border-line px-4 py-2">
          <h2 className="font-semibold">{t.playground.answer}</h2>
          {head ? <Badge className="max-w-full"><span className="truncate font-mono">{head.deployment}</span></Badge> : null}
          {simulated ? <Badge tone="violet">{t.gateway.simulated}</Badge> : null}
          {end?.stop ? <span className="ml-auto text-xs text-soft">{t.playground.stops[end.stop] ?? end.stop}</span> : null}
        </div>
        <div className="px-4 py-3">
          {/* That somebody answers is news; every word of it is not. */}
          <p role="status" className={clsx("text-soft", (text || !asking) && "sr-only")}>{asking ? (head ? t.playground.answering(head.deployment) : t.playground.waiting) : end && !end.error ? `${t.playground.answer}: ${text}` : ""}</p>
          {thinking ? <Disclosure className="mb-3" summary={t.playground.thinking}><p className="mt-1 whitespace-pre-wrap break-words text-soft">{thinking}</p></Disclosure> : null}
          {text ? <p className="whitespace-pre-wrap break-words" data-answer-text>{text}{asking ? <span aria-hidden="true" className="live-dot ml-1 inline-block size-2 rounded-full bg-violet" /> : null}</p> : null}
          {end && !end.error && !text ? <p className="text-soft">{t.playground.silent}</p> : null}
          {asking && !text ? <div aria-hidden="true" className="mt-2 flex flex-col gap-2"><div className="skeleton h-4 w-2/3" /><div className="skeleton h-4 w-1/2" /></div> : null}
          {phase === "stopped" ? <Notice tone="info">{t.playground.stopped}</Notice> : null}
          {phase === "lost" ? <Notice tone="bad">{t.playground.lost}</Notice> : null}
          {end?.error ? <Refused error={end.error} partial={text !== ""} /> : null}
          {head && head.dropped.length > 0 ? <p className="mt-2 text-xs text-soft">{t.playground.dropped(head.dropped)}</p> : null}
        </div>
      </div>
      {end ? <Way end={end} head={head} /> : null}
    </>
  );
}

function Refused({ error, partial }: { error: NonNullable<AnswerEnd["error"]>; partial: boolean }) {
  return (
    <div role="alert" className="mt-2 flex gap-3 rounded-lg border border-bad/40 bg-bad-wash px-3 py-2.5 text-bad" data-answer-error={error.code}>
      <CircleAlert size={16} aria-hidden="true" className="mt-0.5 shrink-0" />
      <div className="min-w-0 flex-1">
        <p className="font-medium">{partial ? t.playground.partial : t.playground.failed}</p>
        <p className="break-words">{causesIn(error.detail)}</p>
        {error.retry_after_seconds ? <p>{t.playground.retry(error.retry_after_seconds)}</p> : null}
      </div>
    </div>
  );
}

/** Every attempt with its cause and its time, and what it all cost. */
function Way({ end, head }: { end: AnswerEnd; head: AnswerHead | null }) {
  const estimated = end.attempts.some((attempt) => attempt.estimated);
  const unpriced = end.attempts.some((attempt) => attempt.unpriced);
  return (
    <section aria-label={t.playground.way} data-way={head?.deployment ?? ""}>
      <div className="mb-2 flex flex-wrap items-center gap-x-3 gap-y-1">
        <h2 className="text-md font-semibold">{t.playground.way}</h2>
        <span className="text-soft tabular">{t.playground.tokens(count(end.tokens_in), count(end.tokens_out))}</span>
        {estimated ? <Badge>{t.playground.estimated}</Badge> : null}
        <span className="ml-auto font-medium" data-answer-cost>{end.simulated_micro_usd > 0 && end.cost_micro_usd > 0 ? <><Cost real={end.cost_micro_usd} simulated={0} /> <Simulated microUsd={end.simulated_micro_usd} /></> : <Cost real={end.cost_micro_usd} simulated={end.simulated_micro_usd} />}</span>
        {unpriced ? <span title={t.gateway.priceUnknownHelp}><Badge tone="warn">{t.gateway.price}: {t.gateway.priceUnknown}</Badge></span> : null}
      </div>
      {end.downgraded_to ? <div className="mb-2"><Notice tone="info">{t.playground.downgraded(end.downgraded_to)}</Notice></div> : null}
      {end.attempts.length + end.skipped.length > 0 ? <WayTable attempts={end.attempts} skipped={end.skipped} /> : null}
    </section>
  );
}
