import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { commandStory, createSprint, createStory, useCommand, type StoryCommand } from "../api/actions";
import { ApiError, idempotencyKey } from "../api/client";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { Story } from "../api/types";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { InlineError } from "../ui/feedback";
import { useStableKey } from "../stableKey";
import { SelectField, TextArea, TextField } from "../ui/form";
import { toastError } from "../ui/toast";
import { isOpen } from "./columns";

export function NewStoryDialog({ projectId, sprintId, open, onClose }: { projectId: string; sprintId: string | undefined; open: boolean; onClose: () => void }) {
  return <Dialog open={open} onClose={onClose} title={t.board.newStory} wide><StoryForm projectId={projectId} sprintId={sprintId} onClose={onClose} /></Dialog>;
}

function StoryForm({ projectId, sprintId, onClose }: { projectId: string; sprintId: string | undefined; onClose: () => void }) {
  const navigate = useNavigate();
  const sprints = useQuery(queries.sprints(projectId));
  const [form, setForm] = useState({ title: "", description: "", points: "", sprint: sprintId ?? "" });
  const open = sprints.data?.filter(isOpen) ?? [];
  // What is shown is what is sent: the sprint on screen may be over.
  const sprint = open.some((item) => item.id === form.sprint) ? form.sprint : "";
  const key = useStableKey();
  const create = useCommand<{ start: boolean }, Story>({
    send: async ({ start }) => {
      const points = Number(form.points);
      const body = {
        title: form.title.trim(), description: form.description.trim(),
        ...(form.points && Number.isFinite(points) ? { points } : {}), ...(sprint ? { sprint_id: sprint } : {}),
      };
      const story = await createStory(projectId, body, key.for(body));
      if (!start) return story;
      // The story is there from now on: a start that fails is tried again on its page, never by writing it twice.
      return commandStory(projectId, story.id, { name: "start" }, idempotencyKey()).catch((error: unknown) => {
        toastError(error, t.board.createdNotStarted(story.number));
        return story;
      });
    },
    refresh: () => [keys.stories(projectId), keys.sprints(projectId), keys.project(projectId)],
    done: ({ start }, story) => (start && !story.started ? undefined : t.board.created(story.number)),
    quietFields: true,
    onSuccess: (story) => {
      onClose();
      void navigate({ to: "/projects/$projectId/stories/$storyId", params: { projectId, storyId: story.id } });
    },
  });
  const error = create.error instanceof ApiError ? create.error : null;
  const submit = (event: FormEvent, start: boolean) => {
    event.preventDefault();
    if (form.title.trim()) create.mutate({ start });
  };
  return (
    <form className="flex flex-col gap-3.5" onSubmit={(event) => submit(event, false)}>
      {create.isError && !error?.body.errors?.length ? <InlineError error={create.error} /> : null}
      <TextField label={t.board.storyTitle} data-autofocus required maxLength={200} value={form.title} error={error?.field("title")} onChange={(event) => setForm({ ...form, title: event.target.value })} />
      <TextArea label={t.board.description} help={t.board.descriptionHelp} rows={7} value={form.description} error={error?.field("description")} onChange={(event) => setForm({ ...form, description: event.target.value })} />
      <div className="grid grid-cols-2 gap-3">
        <TextField label={t.board.points} type="number" min={0} max={100} value={form.points} error={error?.field("points")} onChange={(event) => setForm({ ...form, points: event.target.value })} />
        <SelectField label={t.board.sprint} value={sprint} onChange={(event) => setForm({ ...form, sprint: event.target.value })}>
          <option value="">{t.board.noSprint}</option>
          {open.map((item) => <option key={item.id} value={item.id}>{item.name}</option>)}
        </SelectField>
      </div>
      <div className="flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onClose}>{t.common.cancel}</Button>
        <Button size="md" type="submit" busy={create.isPending}>{t.common.create}</Button>
        <Button size="md" tone="primary" busy={create.isPending} onClick={(event) => submit(event, true)}>{t.board.createAndStart}</Button>
      </div>
    </form>
  );
}

export function NewSprintDialog({ projectId, open, onClose }: { projectId: string; open: boolean; onClose: () => void }) {
  return <Dialog open={open} onClose={onClose} title={t.board.newSprint}><SprintForm projectId={projectId} onClose={onClose} /></Dialog>;
}

const SPRINT_DAYS = 14;
const DAY_MS = 86_400_000;

function isoDay(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

function SprintForm({ projectId, onClose }: { projectId: string; onClose: () => void }) {
  const [form, setForm] = useState(() => ({ name: "", goal: "", starts_on: isoDay(Date.now()), ends_on: isoDay(Date.now() + SPRINT_DAYS * DAY_MS) }));
  const key = useStableKey();
  const create = useCommand<void>({
    send: () => createSprint(projectId, form, key.for(form)),
    refresh: () => [keys.sprints(projectId)],
    done: t.common.saved,
    quietFields: true,
    onSuccess: onClose,
  });
  const error = create.error instanceof ApiError ? create.error : null;
  const bind = (name: keyof typeof form) => ({ value: form[name], error: error?.field(name), onChange: (event: { target: { value: string } }) => setForm({ ...form, [name]: event.target.value }) });
  return (
    <form className="flex flex-col gap-3.5" onSubmit={(event) => { event.preventDefault(); create.mutate(); }}>
      <TextField label={t.board.sprintName} data-autofocus required {...bind("name")} />
      <TextArea label={t.board.goal} required rows={3} {...bind("goal")} />
      <div className="grid grid-cols-2 gap-3">
        <TextField label={t.board.starts} type="date" required {...bind("starts_on")} />
        <TextField label={t.board.ends} type="date" required {...bind("ends_on")} />
      </div>
      <div className="flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onClose}>{t.common.cancel}</Button>
        <Button size="md" tone="primary" type="submit" busy={create.isPending}>{t.common.create}</Button>
      </div>
    </form>
  );
}

export type Asking = { story: Story; what: "block" | "cancel" | "move" };

/** Commands that need a word more: a reason, or which sprint. */
export function StoryCommandDialog({ asking, onClose, onCommand }: { asking: Asking | null; onClose: () => void; onCommand: (story: Story, command: StoryCommand) => void }) {
  const title = asking ? { block: t.board.reasonBlock, cancel: t.board.reasonCancel, move: t.keys.moveSprint }[asking.what] : "";
  return (
    <Dialog open={asking !== null} onClose={onClose} title={title}>
      {asking ? <CommandForm key={`${asking.story.id}-${asking.what}`} asking={asking} onClose={onClose} onCommand={onCommand} /> : null}
    </Dialog>
  );
}

function CommandForm({ asking, onClose, onCommand }: { asking: Asking; onClose: () => void; onCommand: (story: Story, command: StoryCommand) => void }) {
  const { story, what } = asking;
  const sprints = useQuery(queries.sprints(story.project_id));
  const [reason, setReason] = useState("");
  const [chosen, setSprint] = useState<string | null>(null);
  const open = sprints.data?.filter((item) => isOpen(item) && item.id !== story.sprint_id) ?? [];
  // Where it is now is no move; out of a sprint it may always go.
  const sprint = chosen ?? (story.sprint_id === null ? (open[0]?.id ?? "") : "");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    onCommand(story, what === "move" ? { name: "move", sprint_id: sprint || null } : { name: what, reason: reason.trim() });
    onClose();
  };
  return (
    <form className="flex flex-col gap-3.5" onSubmit={submit}>
      <p className="text-soft">#{story.number} {story.title}</p>
      {what === "move" && open.length === 0 && story.sprint_id === null ? <p>{t.board.noOpenSprint}</p> : what === "move" ? (
        <SelectField label={t.board.sprint} data-autofocus value={sprint} onChange={(event) => setSprint(event.target.value)}>
          {story.sprint_id === null ? null : <option value="">{t.board.noSprint}</option>}
          {open.map((item) => <option key={item.id} value={item.id}>{item.name}</option>)}
        </SelectField>
      ) : (
        <TextArea label={t.common.reason} data-autofocus required rows={3} value={reason} onChange={(event) => setReason(event.target.value)} />
      )}
      <div className="flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onClose}>{what === "cancel" ? t.board.keepStory : t.common.cancel}</Button>
        <Button size="md" tone={what === "cancel" ? "danger" : "primary"} type="submit" disabled={what === "move" && sprint === "" && story.sprint_id === null}>{t.board.does[what]}</Button>
      </div>
    </form>
  );
}
