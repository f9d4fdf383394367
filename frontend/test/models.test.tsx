import { describe, expect, it } from "vitest";
import type { ModelGroup, ModelProvider } from "../src/api/types";
import { EMPTY_GROUP, formOfGroup, moved, settingsOfGroup } from "../src/models/group";
import { EMPTY_MODEL, EMPTY_PROVIDER, formOfProvider, ofKind, settingsOfProvider } from "../src/models/provider";
import { modelGroups, modelProviders } from "./mock/models.mjs";

const [ACME, BASEMENT] = modelProviders as [ModelProvider, ModelProvider];
const [CODE] = modelGroups as [ModelGroup];

describe("a provider", () => {
  it("comes out of its form as it went in, without its key", () => {
    for (const provider of [ACME, BASEMENT]) {
      const result = settingsOfProvider(formOfProvider(provider), provider);
      expect(result).toEqual({ settings: { name: provider.name, kind: provider.kind, base_url: provider.base_url, vendor: null, api_version: null, deployments: provider.deployments.map((one) => { const { full_name: named, ...rest } = one; expect(named).toBe(`${provider.name}/${one.name}`); return rest; }) } });
    }
  });
  it("sends a key only when one was written", () => {
    const result = settingsOfProvider({ ...formOfProvider(ACME), key: " sk-1 " }, ACME);
    expect("settings" in result && result.settings.key).toBe("sk-1");
  });
  it("is refused by every field that is wrong at once", () => {
    const result = settingsOfProvider({ ...EMPTY_PROVIDER, address: " ", models: [{ ...EMPTY_MODEL, window: "many", output: "0", input: "-1", idle: "soon" }] }, null);
    expect(Object.keys("errors" in result ? result.errors : {}).toSorted()).toEqual(["base_url", "deployments[0].context_window", "deployments[0].max_output", "deployments[0].model", "deployments[0].prices", "deployments[0].timeouts.idle_ms", "name"]);
  });
  it("has prices in dollars per million, and none where nothing is said", () => {
    const model = { ...EMPTY_MODEL, model: "m", window: "10", output: "5", input: "2.5", answer: "10" };
    const result = settingsOfProvider({ ...EMPTY_PROVIDER, name: "p", models: [model, { ...model, input: "", answer: "" }] }, null);
    expect("settings" in result && result.settings.deployments.map((one) => one.prices)).toEqual([{ input: 2_500_000, output: 10_000_000 }, null]);
  });
  it("is waited for as long as is said in seconds, and as usual where nothing is", () => {
    const model = { ...EMPTY_MODEL, model: "m" };
    const result = settingsOfProvider({ ...EMPTY_PROVIDER, name: "p", models: [{ ...model, connect: "2.5", total: "1200" }, model] }, null);
    expect("settings" in result && result.settings.deployments.map((one) => one.timeouts)).toEqual([{ connect_ms: 2_500, total_ms: 1_200_000 }, null]);
  });
  it("is at the usual address of its kind until somebody writes another", () => {
    const other = ofKind(EMPTY_PROVIDER, "openai");
    expect(other.address).toBe("https://api.openai.com/v1");
    expect(ofKind({ ...other, address: "https://mine.example/v1" }, "gemini").address).toBe("https://mine.example/v1");
  });
});

describe("a model group", () => {
  it("comes out of its form as it went in", () => {
    expect(settingsOfGroup(formOfGroup(CODE))).toEqual({ settings: { routing: "weighted", hedge_after_ms: 2_500, cheaper: "fast-response", chain: CODE.chain.map(({ deployment, weight }) => ({ deployment, weight })) } });
  });
  it("is refused without a name, a deployment, or with a weight that is none", () => {
    const result = settingsOfGroup({ ...EMPTY_GROUP, hedge: "soon" });
    expect(Object.keys("errors" in result ? result.errors : {}).toSorted()).toEqual(["chain", "hedge_after_ms", "name"]);
    const heavy = settingsOfGroup({ ...EMPTY_GROUP, name: "g", chain: [{ deployment: "a", weight: "1001" }] });
    expect("errors" in heavy && heavy.errors["chain[0].weight"]).toBeTruthy();
  });
  it("keeps its chain when something is moved beyond its ends", () => {
    expect(moved(["a", "b", "c"], 0, 1)).toEqual(["b", "a", "c"]);
    expect(moved(["a", "b", "c"], 2, -1)).toEqual(["a", "c", "b"]);
    expect(moved(["a", "b"], 0, -1)).toEqual(["a", "b"]);
    expect(moved(["a", "b"], 1, 1)).toEqual(["a", "b"]);
  });
});
