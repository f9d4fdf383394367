import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import * as queries from "../api/queries";

/** What the ids of a project stand for: events and audit entries carry ids, people read names. */
export function useNames(projectId: string): ReadonlyMap<string, string> {
  const { data: agents } = useQuery(queries.agents(projectId));
  const { data: members } = useQuery(queries.members(projectId));
  const { data: stories } = useQuery(queries.stories(projectId));
  const { data: sprints } = useQuery(queries.sprints(projectId));
  const { data: approvals } = useQuery(queries.approvals("all"));
  return useMemo(() => {
    const names = new Map<string, string>();
    for (const agent of agents ?? []) names.set(agent.id, agent.name);
    for (const member of members ?? []) names.set(member.user_id, member.name);
    for (const story of stories ?? []) {
      const name = `#${story.number} ${story.title}`;
      names.set(story.id, name);
      if (story.pull_request_id) names.set(story.pull_request_id, name);
    }
    for (const approval of approvals?.items ?? []) names.set(approval.id, approval.title);
    for (const sprint of sprints ?? []) names.set(sprint.id, sprint.name);
    return names;
  }, [agents, members, stories, sprints, approvals]);
}
