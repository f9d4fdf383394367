import type { Project } from "../../src/api/types";

export const projects: Project[];
