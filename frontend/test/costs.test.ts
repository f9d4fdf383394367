import { describe, expect, it } from "vitest";
import type { Budget, OrganisationUsage, Project } from "../src/api/types";
import { budgetAlerts, byMonth, months, overall } from "../src/costs/alerts";
import { sectionOf } from "../src/shell/place";

const budget = (extra: Partial<Budget>): Budget => ({ hard_limit_micro_usd: 100, soft_limit_micro_usd: null, spent_micro_usd: 0, simulated_micro_usd: 0, reserved_micro_usd: 0, ...extra });
const limits = (extra: Partial<Budget>) => budgetAlerts(budget(extra)).map(({ limit, fraction }) => [limit, fraction]);

describe("an alert about a budget", () => {
  it("is given from 80 % on, with what is reserved for the hard limit only", () => {
    expect(limits({ spent_micro_usd: 79 })).toEqual([]);
    expect(limits({ spent_micro_usd: 50, simulated_micro_usd: 20, reserved_micro_usd: 10 })).toEqual([["hard", 0.8]]);
    expect(limits({ soft_limit_micro_usd: 50, spent_micro_usd: 30, simulated_micro_usd: 9, reserved_micro_usd: 5 })).toEqual([]);
    expect(limits({ soft_limit_micro_usd: 50, spent_micro_usd: 50 })).toEqual([["soft", 1]]);
  });
  it("is given of a limit of nothing, and of none is none", () => {
    expect(limits({ hard_limit_micro_usd: 0 })).toEqual([["hard", 1]]);
    expect(limits({ hard_limit_micro_usd: null, spent_micro_usd: 1_000 })).toEqual([]);
    expect(budgetAlerts(null)).toEqual([]);
  });
});

describe("the costs of all projects", () => {
  it("are summed up with real and simulated apart, the dearest project first", () => {
    const project = (name: string, real: number, simulated: number) => ({ id: name, name, spent_micro_usd: real, simulated_micro_usd: simulated }) as Project;
    const { real, simulated, rows } = overall([project("b", 0, 5), project("a", 0, 5), project("c", 7, 1)]);
    expect([real, simulated, rows.map((row) => row.name)]).toEqual([7, 11, ["c", "a", "b"]]);
  });
  it("are known of the month where their organisation has told, and are ordered by it", () => {
    const project = (id: string, organisation_id: string) => ({ id, organisation_id }) as Project;
    const of = (project_id: string, to_date_micro_usd: number) => ({ project_id, name: project_id, to_date_micro_usd, simulated_micro_usd: 0 });
    const usage = (projects_left_out: number, ...projects: ReturnType<typeof of>[]) => ({ projects, projects_left_out }) as OrganisationUsage;
    const projects = [project("idle", "whole"), project("small", "whole"), project("cut off", "cut"), project("dear", "cut"), project("hidden", "foreign")];
    const known = months(projects, new Map([["whole", usage(0, of("small", 3))], ["cut", usage(1, of("dear", 9))]]));
    expect(projects.map(({ id }) => known.get(id)?.real ?? null)).toEqual([0, 3, null, 9, null]);
    expect(byMonth(projects, known).map(({ id }) => id)).toEqual(["dear", "small", "idle", "cut off", "hidden"]);
  });
  it("and their models are no part of one project in the navigation", () => {
    expect(["/costs", "/models", "/projects/p/costs", "/projects/p/gateway"].map(sectionOf)).toEqual(["projects", "projects", "costs", "gateway"]);
  });
});
