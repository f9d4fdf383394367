import type { GatewayKey, GatewayKeySettings } from "../api/types";
import { parseMoney } from "../format";
import { t } from "../i18n/en";

/** What a key is and what its form says: pure functions. */

export type KeyState = "active" | "ended" | "revoked";

export function keyState(key: Pick<GatewayKey, "revoked_at" | "expires_at">, now: number): KeyState {
  if (key.revoked_at) return "revoked";
  return key.expires_at && Date.parse(key.expires_at) <= now ? "ended" : "active";
}

/** Until when the secret before is good as well, while it is. */
export function previousUntil(key: Pick<GatewayKey, "previous_until">, now: number): string | null {
  return key.previous_until && Date.parse(key.previous_until) > now ? key.previous_until : null;
}

/** For how long the secret in use may be good beside the new one, in seconds: the first is what happens unless it is said. */
export const OVERLAPS = [0, 3_600, 86_400, 604_800];

/** A form as it is typed. */
export interface KeyForm {
  name: string;
  models: string[];
  requests: string;
  tokens: string;
  budget: string;
  /** As `datetime-local` has it: without a zone, in the reader's own. */
  ends: string;
  /** `agent:ID`, `user:ID`, or nobody. */
  owner: string;
}

export const EMPTY_FORM: KeyForm = { name: "", models: [], requests: "", tokens: "", budget: "", ends: "", owner: "" };

const MICROS = 1_000_000;
const LARGEST = 2_147_483_647;

export function formOf(key: GatewayKey): KeyForm {
  return {
    name: key.name,
    models: key.models ?? [],
    requests: String(key.requests_per_minute ?? ""),
    tokens: String(key.tokens_per_minute ?? ""),
    budget: key.hard_limit_micro_usd === null || key.hard_limit_micro_usd === undefined ? "" : String(key.hard_limit_micro_usd / MICROS),
    ends: key.expires_at ? localTime(new Date(key.expires_at)) : "",
    owner: key.agent_id ? `agent:${key.agent_id}` : key.user_id ? `user:${key.user_id}` : "",
  };
}

/** As a `datetime-local` field shows it, to the minute. */
export function localTime(at: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

export type FormErrors = Partial<Record<"name" | "requests" | "tokens" | "budget" | "ends", string>>;

/** What the form asks the server for, or what is wrong with it. */
export function settingsOf(form: KeyForm, now: number): { settings: GatewayKeySettings } | { errors: FormErrors } {
  const errors: FormErrors = {};
  const whole = (field: "requests" | "tokens") => {
    const text = form[field].trim();
    const value = Number(text);
    if (text && !(/^\d+$/.test(text) && value >= 1 && value <= LARGEST)) errors[field] = t.gatewayKeys.wholeNumber;
    return text ? value : null;
  };
  if (!form.name.trim()) errors.name = t.errors.required;
  const [requests, tokens] = [whole("requests"), whole("tokens")];
  const budget = form.budget.trim() ? parseMoney(form.budget) : null;
  if (form.budget.trim() && budget === null) errors.budget = t.errors.amount;
  const ends = form.ends ? new Date(form.ends) : null;
  if (ends && ends.getTime() <= now) errors.ends = t.gatewayKeys.past;
  if (Object.keys(errors).length > 0) return { errors };
  const [kind, id] = form.owner.split(":");
  return {
    settings: {
      name: form.name.trim(),
      models: form.models.length > 0 ? form.models : null,
      requests_per_minute: requests,
      tokens_per_minute: tokens,
      hard_limit_micro_usd: budget,
      expires_at: ends ? ends.toISOString() : null,
      agent_id: kind === "agent" && id ? id : null,
      user_id: kind === "user" && id ? id : null,
    },
  };
}

/** What to paste into a shell, for either format. */
export function environment(origin: string, secret: string): { openai: string; anthropic: string } {
  return {
    openai: `export OPENAI_BASE_URL=${origin}/v1 OPENAI_API_KEY=${secret}`,
    anthropic: `export ANTHROPIC_BASE_URL=${origin} ANTHROPIC_API_KEY=${secret}`,
  };
}
