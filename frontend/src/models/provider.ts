import type { ModelProvider, ModelProviderSettings } from "../api/types";
import { t } from "../i18n/en";

/** A provider and what its form says: pure functions. */

export const KINDS = ["anthropic", "openai", "openai_compatible", "azure_openai", "gemini", "ollama", "voyage", "scripted"] as const;
export type Kind = (typeof KINDS)[number];

/** Where each kind usually is; empty where everybody has their own. */
export const USUAL_ADDRESS: Record<Kind, string> = {
  anthropic: "https://api.anthropic.com/v1",
  openai: "https://api.openai.com/v1",
  openai_compatible: "",
  azure_openai: "",
  gemini: "https://generativelanguage.googleapis.com/v1beta",
  ollama: "",
  voyage: "https://api.voyageai.com/v1",
  scripted: "",
};

/** A model as it is typed. */
export interface ModelForm {
  name: string;
  model: string;
  window: string;
  output: string;
  /** In USD per million tokens; both empty: the price of the table. */
  input: string;
  answer: string;
  /** In seconds; empty: as usual. */
  connect: string;
  firstToken: string;
  idle: string;
  total: string;
}

/** The waits of a model: the field of the form, its name on the wire, and how long it usually is, in seconds. */
export const WAITS = [
  ["connect", "connect_ms", 10],
  ["firstToken", "first_token_ms", 300],
  ["idle", "idle_ms", 60],
  ["total", "total_ms", 900],
] as const;

/** A form as it is typed. */
export interface ProviderForm {
  name: string;
  kind: Kind;
  address: string;
  vendor: string;
  apiVersion: string;
  key: string;
  models: ModelForm[];
}

export const EMPTY_MODEL: ModelForm = { name: "", model: "", window: "200000", output: "32000", input: "", answer: "", connect: "", firstToken: "", idle: "", total: "" };
export const EMPTY_PROVIDER: ProviderForm = { name: "", kind: "anthropic", address: USUAL_ADDRESS.anthropic, vendor: "", apiVersion: "", key: "", models: [EMPTY_MODEL] };

/** Micro-USD in one USD. */
const MICROS = 1_000_000;
const MILLISECONDS = 1_000;

export function formOfProvider(provider: ModelProvider): ProviderForm {
  const dollars = (micros: number | undefined) => (micros === undefined ? "" : String(micros / MICROS));
  const seconds = (wait: number | null | undefined) => (wait == null ? "" : String(wait / MILLISECONDS));
  return {
    name: provider.name,
    kind: provider.kind,
    address: provider.base_url,
    vendor: provider.vendor ?? "",
    apiVersion: provider.api_version ?? "",
    key: "",
    models: provider.deployments.map((one) => ({
      name: one.name,
      model: one.model,
      window: String(one.context_window),
      output: String(one.max_output),
      input: dollars(one.prices?.input),
      answer: dollars(one.prices?.output),
      connect: seconds(one.timeouts?.connect_ms),
      firstToken: seconds(one.timeouts?.first_token_ms),
      idle: seconds(one.timeouts?.idle_ms),
      total: seconds(one.timeouts?.total_ms),
    })),
  };
}

/** The form with another kind: an address that nobody wrote follows it. */
export function ofKind(form: ProviderForm, kind: Kind): ProviderForm {
  const untouched = form.address === "" || form.address === USUAL_ADDRESS[form.kind];
  return { ...form, kind, address: untouched ? USUAL_ADDRESS[kind] : form.address };
}

/** By the path of the field, as the server names it. */
export type FieldErrors = Record<string, string>;

/** What the form asks the server for, or what is wrong with it. The server has the last word. */
export function settingsOfProvider(form: ProviderForm, before: ModelProvider | null): { settings: ModelProviderSettings } | { errors: FieldErrors } {
  const errors: FieldErrors = {};
  if (!form.name.trim()) errors.name = t.errors.required;
  if (!form.address.trim()) errors.base_url = t.errors.required;
  const tokens = (field: string, text: string) => {
    if (!/^\d{1,9}$/.test(text.trim()) || Number(text) < 1) errors[field] = t.models.wholeTokens;
    return Number(text);
  };
  const deployments = form.models.map((one, index) => {
    const at = `deployments[${index}]`;
    if (!one.model.trim()) errors[`${at}.model`] = t.errors.required;
    const price = (text: string) => {
      const value = Number(text);
      if (!Number.isFinite(value) || value < 0) errors[`${at}.prices`] = t.errors.amount;
      return Math.round(value * MICROS);
    };
    const waits = WAITS.filter(([field]) => one[field].trim() !== "").map(([field, wire]) => {
      const value = Number(one[field]);
      if (!Number.isFinite(value) || value <= 0) errors[`${at}.timeouts.${wire}`] = t.models.wholeSeconds;
      return [wire, Math.round(value * MILLISECONDS)] as const;
    });
    const priced = one.input.trim() !== "" || one.answer.trim() !== "";
    const known = before?.deployments.find((other) => other.name === one.name);
    return {
      name: one.name.trim() || one.model.trim(),
      model: one.model.trim(),
      context_window: tokens(`${at}.context_window`, one.window),
      max_output: tokens(`${at}.max_output`, one.output),
      // What is known of the cache stays; what is not costs what prompts cost.
      prices: priced ? { ...known?.prices, input: price(one.input), output: price(one.answer) } : null,
      accepts_temperature: known?.accepts_temperature ?? false,
      timeouts: waits.length > 0 ? Object.fromEntries(waits) : null,
    };
  });
  if (deployments.length === 0) errors.deployments = t.models.needModel;
  if (Object.keys(errors).length > 0) return { errors };
  return {
    settings: {
      name: form.name.trim(),
      kind: form.kind,
      base_url: form.address.trim(),
      vendor: form.vendor.trim() || null,
      api_version: form.apiVersion.trim() || null,
      // Left out: it stays.
      ...(form.key.trim() ? { key: form.key.trim() } : {}),
      deployments,
    },
  };
}
