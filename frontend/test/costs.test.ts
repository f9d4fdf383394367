import { describe, expect, it } from "vitest";
import type { Budget, Project } from "../src/api/types";
import { budgetAlerts, overall } from "../src/costs/alerts";
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
  it("and their models are no part of one project in the navigation", () => {
    expect(["/costs", "/models", "/projects/p/costs", "/projects/p/gateway"].map(sectionOf)).toEqual(["projects", "projects", "costs", "gateway"]);
  });
});
