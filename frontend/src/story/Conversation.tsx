import { skipToken, useQuery } from "@tanstack/react-query";
import { clsx } from "clsx";
import { Square } from "lucide-react";
import { useState } from "react";
import { cancelRun, sendMessage, useCommand } from "../api/actions";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { Message, Run, Story } from "../api/types";
import { dateTime, shortTime } from "../format";
import { t } from "../i18n/en";
import { useStableKey } from "../stableKey";
import { Button } from "../ui/button";
import { ActorIcon } from "../ui/entity";
import { EmptyState, Loaded } from "../ui/feedback";
import { Badge, labelOf } from "../ui/status";
import { Ago } from "../ui/time";
import { LiveText } from "../run/LiveText";
import { Prose } from "../ui/prose";
import { ownerName } from "./owner";

export function contentText(content: Message["content"]): string {
  if (typeof content === "string") return content;
  if (content && typeof content === "object" && !Array.isArray(content)) {
    for (const key of ["text", "body", "message", "summary"]) {
      const value = content[key];
      if (typeof value === "string") return value;
    }
  }
  return JSON.stringify(content, null, 2);
}

export function Conversation({ story, mayWrite }: { story: Story; mayWrite: boolean }) {
  const p = story.project_id;
  // A story's id is the conversation of its agents.
  const messages = useQuery(queries.messages(p, story.id));
  const runId = story.run_id ?? null;
  const live = useQuery<string>({ queryKey: keys.delta(runId ?? "none"), queryFn: skipToken });
  return (
    <div className="flex max-w-3xl flex-col gap-2.5 pt-4">
      <Loaded query={messages}>
        {(all) => {
          if (all.length === 0 && !live.data) return <EmptyState title={t.story.noConversation} detail={t.story.noConversationDetail} />;
          return <ol className="flex flex-col gap-2.5">{all.map((message) => <MessageItem key={message.id} message={message} />)}</ol>;
        }}
      </Loaded>
      {runId ? <LiveText runId={runId} name={ownerName(story)} className="card p-3" /> : null}
      {mayWrite && story.phase !== "done" && story.phase !== "cancelled" ? <Composer story={story} runId={runId} /> : null}
    </div>
  );
}

/** Whom it is for: nothing for everybody on the story. */
function recipient(to: Message["to"]): string {
  if (to === null || to === undefined) return "";
  return typeof to === "string" ? labelOf(to.slice(to.indexOf(":") + 1)) : (to.name ?? t.actor.kind("agent"));
}

function MessageItem({ message }: { message: Message }) {
  const to = recipient(message.to);
  const mine = message.from.type === "user";
  return (
    <li className={clsx("card p-3", mine && "border-accent/40 bg-accent-wash/40")}>
      <p className="mb-1 flex flex-wrap items-center gap-x-2 gap-y-1 text-xs text-soft">
        <ActorIcon type={message.from.type} /><span className="font-medium text-ink">{message.from.name ?? t.actor.kind(message.from.type)}</span>
        {to ? <span>{t.story.to(to)}</span> : null}
        {message.action ? <Badge>{labelOf(message.action)}</Badge> : null}
        {message.priority === "high" || message.priority === "urgent" ? <Badge tone="warn">{labelOf(message.priority)}</Badge> : null}
        <span className="ml-auto flex items-center gap-2">
          {message.delivered_at ? <span title={dateTime(message.delivered_at)}>{t.story.read(shortTime(message.delivered_at))}</span> : <Badge tone="info">{t.story.queued}</Badge>}
          <Ago at={message.at} />
        </span>
      </p>
      <Prose text={contentText(message.content)} />
    </li>
  );
}

function Composer({ story, runId }: { story: Story; runId: string | null }) {
  const p = story.project_id;
  const [text, setText] = useState("");
  const key = useStableKey();
  // To everybody on the story: whoever's run begins next is told. One agent alone may never run here again.
  const send = useCommand<void, Message>({
    send: () => {
      const body = { content: { text: text.trim() }, conversation_id: story.id };
      return sendMessage(p, body, key.for(body));
    },
    refresh: () => [keys.messages(p)],
    onSuccess: () => {
      key.done();
      setText("");
    },
  });
  const stop = useCommand<string, Run>({
    send: (run, key) => cancelRun(p, run, t.story.stopReason, key),
    refresh: () => [keys.story(p, story.id), keys.runs(p)],
    done: t.story.stopped,
  });
  return (
    <form className="card flex flex-col gap-2 p-3" onSubmit={(event) => { event.preventDefault(); if (text.trim() && !send.isPending) send.mutate(); }}>
      <textarea aria-label={t.story.message} placeholder={t.story.message} maxLength={20_000} rows={2} value={text} onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && text.trim() && !send.isPending) send.mutate(); }} className="field" />
      <div className="flex flex-wrap items-center gap-2">
        <Button type="submit" tone="primary" busy={send.isPending} disabled={!text.trim()} hint="Ctrl ↵">{t.story.sendMessage}</Button>
        <span className="text-xs text-soft">{t.story.sendHelp}</span>
        {runId ? <Button tone="danger" className="ml-auto" busy={stop.isPending} onClick={() => stop.mutate(runId)}><Square size={12} aria-hidden="true" />{t.story.stop}</Button> : null}
      </div>
    </form>
  );
}
