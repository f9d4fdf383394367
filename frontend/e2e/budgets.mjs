// What a run that waits for money promises; run by pages.mjs.
import { faults } from "./browser.mjs";

const check = (condition, text) => { if (!condition) throw new Error(text); };

export function budgetCases({ page, mock, go, written }) {
  const { data } = mock;
  const [project] = data.projects;
  const run = data.runs[2];
  const before = { state: run.state, waiting: run.waiting, budget: project.budget };
  /** As the server has it: its budget is used up, and the run is parked on it. */
  const park = () => {
    project.budget = { ...before.budget, hard_limit_micro_usd: 10_000_000, soft_limit_micro_usd: 8_000_000, spent_micro_usd: 9_990_000, simulated_micro_usd: 0, reserved_micro_usd: 0 };
    const detail = "the project's hard budget of $10.00 would be passed: $9.99 spent, $0.00 reserved, this call may cost $0.05";
    Object.assign(run, { state: "waiting", waiting: { on: "budget", detail, approval_id: null, owner: "admin", owner_name: null, since: data.ago(60_000), deadline: null, job: null } });
  };
  const restore = () => {
    Object.assign(run, { state: before.state, waiting: before.waiting });
    project.budget = before.budget;
    project.role = "admin";
  };
  return {
    async "a run that waits for money goes on after one press of a key"() {
      park();
      try {
        await go(`/projects/${project.id}/runs/${run.id}`);
        await page.locator('[data-live="open"]').waitFor();
        const waits = page.getByRole("region", { name: "Why it waits" });
        await waits.getByText("Project Ledger, all time: 100% of the hard limit of $10.00 is used up").waitFor();
        const raise = waits.getByRole("button", { name: "Raise by half, to $15.00: Project Ledger, all time" });
        await raise.focus();
        check((await faults(page)).length === 0, (await faults(page)).join("; "));
        await page.keyboard.press("Enter");
        await waits.getByText("Raised. Runs that wait look again by themselves.").waitFor();
        const path = `/budgets/project/${project.id}/total`;
        const sent = written(path);
        check(sent.length === 1 && sent[0].method === "PUT", `sent ${sent.length} times`);
        check(sent[0].body === '{"hard_limit_micro_usd":15000000,"soft_limit_micro_usd":8000000,"hard_limit_tokens":null,"soft_limit_tokens":null}', sent[0].body);
        Object.assign(run, { state: "thinking", waiting: null });
        mock.emit("run.woken", project.id, `run/${run.id}`);
        await waits.waitFor({ state: "detached" });
        await page.locator("h1").locator("xpath=..").getByText("Thinking").waitFor();
      } finally {
        restore();
      }
    },
    async "who may not raise a limit is told whom to ask"() {
      park();
      project.role = "editor";
      try {
        await go(`/projects/${project.id}/runs/${run.id}`);
        const waits = page.getByRole("region", { name: "Why it waits" });
        await waits.getByText(`An admin of the project can raise it: ${data.maria.name}`).waitFor();
        check((await waits.getByRole("button").count()) === 0, "who may not raise it has a button");
        await waits.getByRole("link", { name: "Open costs" }).click();
        await page.waitForURL("**/costs");
      } finally {
        restore();
      }
    },
  };
}
