import type { Project, Run, Step } from "../../src/api/types";

export const projects: Project[];
export const runs: Run[];
export const engineerSteps: Step[];
