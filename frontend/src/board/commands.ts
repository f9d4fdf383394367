import { useMutation, useQueryClient } from "@tanstack/react-query";
import { commandStory, type StoryCommand } from "../api/actions";
import { idempotencyKey } from "../api/client";
import { keys } from "../api/keys";
import type { Story } from "../api/types";
import { t } from "../i18n/en";
import type { MenuItem } from "../ui/menu";
import { toast, toastError } from "../ui/toast";
import type { Asking } from "./dialogs";

/** What a command will show at once, before the server answers; rolled back when it refuses. */
export function optimistic(story: Story, command: StoryCommand): Story {
  switch (command.name) {
    case "start":
      return { ...story, started: true };
    case "block":
      return story.phase === "blocked" || story.phase === "cancelled" ? story : { ...story, phase: "blocked", blocked_from: story.phase, blocked_reason: command.reason };
    case "unblock":
      return story.blocked_from ? { ...story, phase: story.blocked_from, blocked_from: null, blocked_reason: null } : story;
    case "cancel":
      return { ...story, phase: "cancelled" };
    case "move":
      return { ...story, sprint_id: command.sprint_id };
  }
}

export function useStoryCommand(projectId: string) {
  const client = useQueryClient();
  return useMutation<Story, unknown, { story: Story; command: StoryCommand }, { before: Story[] | undefined }>({
    mutationFn: ({ story, command }) => commandStory(projectId, story.id, command, idempotencyKey()),
    onMutate: async ({ story, command }) => {
      await client.cancelQueries({ queryKey: keys.stories(projectId) });
      const before = client.getQueryData<Story[]>(keys.stories(projectId));
      client.setQueryData<Story[]>(keys.stories(projectId), (known) => known?.map((item) => (item.id === story.id ? optimistic(item, command) : item)));
      return { before };
    },
    onSuccess: (_story, { story, command }) => {
      if (command.name === "start") toast(t.board.started(story.title));
      else toast(t.common.saved);
    },
    onError: (error, { story }, context) => {
      if (context?.before) client.setQueryData(keys.stories(projectId), context.before);
      toastError(error, t.board.refused(story.title));
    },
    onSettled: (_result, _error, { story }) => {
      for (const queryKey of [keys.stories(projectId), keys.story(projectId, story.id), keys.sprints(projectId)]) void client.invalidateQueries({ queryKey });
    },
  });
}

/** What can be done with a story now; a key is named only where it is bound. */
export function storyActions(story: Story, run: (command: StoryCommand) => void, ask: (asking: Asking) => void, keysBound: boolean): (MenuItem | "separator")[] {
  const { start, block, move, cancel } = possible(story);
  const hint = (key: string) => (keysBound ? { hint: key } : {});
  return [
    { label: t.board.startStory, ...hint("S"), disabled: !start, onSelect: () => run({ name: "start" }) },
    story.phase === "blocked"
      ? { label: t.board.unblock, ...hint("B"), onSelect: () => run({ name: "unblock" }) }
      : { label: t.board.block, ...hint("B"), disabled: !block, onSelect: () => ask({ story, what: "block" }) },
    { label: t.board.moveTo, ...hint("M"), disabled: !move, onSelect: () => ask({ story, what: "move" }) },
    "separator",
    { label: t.board.cancelStory, danger: true, disabled: !cancel, onSelect: () => ask({ story, what: "cancel" }) },
  ];
}

/** What makes sense to ask of a story in its phase; what else holds, the server says. */
export function possible(story: Pick<Story, "phase" | "started">): { start: boolean; block: boolean; move: boolean; cancel: boolean } {
  const over = story.phase === "done" || story.phase === "cancelled";
  return { start: !story.started && !over, block: story.started && !over, move: !over, cancel: !over };
}
