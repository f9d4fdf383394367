import { skipToken, useQuery } from "@tanstack/react-query";
import { Square } from "lucide-react";
import { useState } from "react";
import { cancelRun, sendMessage, useCommand } from "../api/actions";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { Message, Run, Story } from "../api/types";
import { t } from "../i18n/en";
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

/** Messages belong to a story by conversation or correlation, or by one of its runs. */
export function ofStory(message: Message, story: Pick<Story, "id" | "run_id">): boolean {
  const ids = [story.id, story.run_id].filter(Boolean);
  return ids.includes(message.conversation_id ?? "") || ids.includes(message.correlation_id ?? "");
}

export function Conversation({ story, mayWrite }: { story: Story; mayWrite: boolean }) {
  const p = story.project_id;
  const messages = useQuery(queries.messages(p));
  const runId = story.run_id ?? null;
  const live = useQuery<string>({ queryKey: keys.delta(runId ?? "none"), queryFn: skipToken });
  return (
    <div className="mx-auto flex max-w-3xl flex-col gap-3 p-3 md:p-5">
      <Loaded query={messages}>
        {(all) => {
          const mine = all.filter((message) => ofStory(message, story)).toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at));
          if (mine.length === 0 && !live.data) return <EmptyState title={t.story.noConversation} detail={t.story.noConversationDetail} />;
          return <ol className="flex flex-col gap-3">{mine.map((message) => <MessageItem key={message.id} message={message} />)}</ol>;
        }}
      </Loaded>
      {runId ? <LiveText runId={runId} name={ownerName(story)} className="card p-3" /> : null}
      {mayWrite && story.phase !== "done" && story.phase !== "cancelled" ? <Composer story={story} runId={runId} /> : null}
    </div>
  );
}

function MessageItem({ message }: { message: Message }) {
  return (
    <li className="card p-3">
      <p className="mb-1 flex flex-wrap items-center gap-2 text-xs text-soft">
        <ActorIcon type={message.from.type} /><span className="font-medium text-ink">{message.from.name ?? t.actor.kind(message.from.type)}</span>
        <Badge>{labelOf(message.action)}</Badge>
        {message.priority === "high" || message.priority === "urgent" ? <Badge tone="warn">{labelOf(message.priority)}</Badge> : null}
        <Ago at={message.at} className="ml-auto" />
      </p>
      <Prose text={contentText(message.content)} />
    </li>
  );
}

function Composer({ story, runId }: { story: Story; runId: string | null }) {
  const p = story.project_id;
  const [text, setText] = useState("");
  const send = useCommand<void, Message>({
    send: (_input, key) => sendMessage(p, {
      type: "notification", action: "note", priority: "normal", content: text.trim(), conversation_id: story.id,
      ...(story.owner.kind === "agent" && story.owner.id ? { to: story.owner.id } : {}),
    }, key),
    refresh: () => [keys.messages(p)],
    onSuccess: () => setText(""),
  });
  const stop = useCommand<string, Run>({
    send: (run, key) => cancelRun(p, run, t.story.stopReason, key),
    refresh: () => [keys.story(p, story.id), keys.runs(p)],
    done: t.story.stopped,
  });
  return (
    <form className="card flex flex-col gap-2 p-3" onSubmit={(event) => { event.preventDefault(); if (text.trim()) send.mutate(); }}>
      <textarea aria-label={t.story.message} placeholder={t.story.message} rows={2} value={text} onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && text.trim()) send.mutate(); }} className="field" />
      <div className="flex flex-wrap items-center gap-2">
        <Button type="submit" tone="primary" busy={send.isPending} disabled={!text.trim()} hint="Ctrl ↵">{t.story.sendMessage}</Button>
        <span className="text-xs text-soft">{t.story.sendHelp}</span>
        {runId ? <Button tone="danger" className="ml-auto" busy={stop.isPending} onClick={() => stop.mutate(runId)}><Square size={12} aria-hidden="true" />{t.story.stop}</Button> : null}
      </div>
    </form>
  );
}
