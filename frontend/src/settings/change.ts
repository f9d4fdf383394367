import type { Autonomy, Project } from "../api/types";

/** The fields of a project's settings, as they are typed. */
export interface ProjectForm {
  name?: string;
  autonomy?: Autonomy;
  threshold?: string;
  test?: string;
  /** Seconds; empty for never. */
  cache?: string;
}

export function formOf(project: Project): Required<ProjectForm> {
  return { name: project.name, autonomy: project.autonomy, threshold: String(project.confidence_threshold), test: project.test_command ?? "", cache: String(project.gateway_cache_seconds ?? "") };
}

/** What of a draft differs from the project: only that is sent. */
export function changeOf(project: Project, draft: ProjectForm): Partial<Pick<Project, "name" | "autonomy" | "confidence_threshold" | "test_command" | "gateway_cache_seconds">> {
  const now = formOf(project);
  return {
    ...(draft.name !== undefined && draft.name.trim() !== now.name ? { name: draft.name.trim() } : {}),
    ...(draft.autonomy !== undefined && draft.autonomy !== now.autonomy ? { autonomy: draft.autonomy } : {}),
    ...(draft.threshold !== undefined && Number(draft.threshold) !== project.confidence_threshold ? { confidence_threshold: Number(draft.threshold) } : {}),
    ...(draft.test !== undefined && draft.test.trim() !== now.test ? { test_command: draft.test.trim() || null } : {}),
    ...(draft.cache !== undefined && draft.cache.trim() !== now.cache ? { gateway_cache_seconds: draft.cache.trim() ? Number(draft.cache) : null } : {}),
  };
}
