import type { Project, Run, Step, Story } from "../../src/api/types";

export const projects: Project[];
export const runs: Run[];
export const stories: Story[];
export const engineerSteps: Step[];
