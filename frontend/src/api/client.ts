import { accessToken, refreshSession } from "./session";
import type { ProblemBody } from "./types";

/** The one way to the REST API: bearer token, one retry after a refresh, problems as errors. */

const BASE = "/api/v1";
/** Longer than any plain request of the server may take (30 s), so that the server's answer wins. */
const TIMEOUT_MS = 40_000;

/** A refusal of the server (RFC 9457), or a request that never reached it (`status` 0). */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly body: ProblemBody;

  constructor(body: ProblemBody) {
    super(body.detail || body.title || `HTTP ${body.status}`);
    this.name = "ApiError";
    this.status = body.status;
    this.code = body.code ?? "unknown";
    this.body = body;
  }

  field(name: string): string | undefined {
    return this.body.errors?.find((error) => error.field === name)?.message;
  }
}

export interface RequestOptions {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  json?: unknown;
  form?: Record<string, string>;
  query?: Record<string, string | number | undefined | null>;
  idempotencyKey?: string;
  signal?: AbortSignal;
  headers?: Record<string, string>;
  /** A stream: no time-out on the whole answer. */
  stream?: boolean;
}

export function url(path: string, query?: RequestOptions["query"]): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") search.set(key, String(value));
  }
  const text = search.toString();
  return `${BASE}${path}${text ? `?${text}` : ""}`;
}

function headersFor(options: RequestOptions): Headers {
  const headers = new Headers({ Accept: "application/json" });
  const token = accessToken();
  if (token) headers.set("Authorization", `Bearer ${token}`);
  if (options.json !== undefined) headers.set("Content-Type", "application/json");
  if (options.form) headers.set("Content-Type", "application/x-www-form-urlencoded");
  for (const [name, value] of Object.entries(options.headers ?? {})) headers.set(name, value);
  if (options.idempotencyKey) headers.set("Idempotency-Key", options.idempotencyKey);
  return headers;
}

function bodyFor(options: RequestOptions): string | null {
  if (options.json !== undefined) return JSON.stringify(options.json);
  if (options.form) return new URLSearchParams(options.form).toString();
  return null;
}

async function problemOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  try {
    const parsed = JSON.parse(text) as ProblemBody;
    return new ApiError({ ...parsed, status: response.status });
  } catch {
    return new ApiError({ status: response.status, title: response.statusText || `HTTP ${response.status}` });
  }
}

async function send(path: string, options: RequestOptions): Promise<Response> {
  const signals = options.stream ? [] : [AbortSignal.timeout(TIMEOUT_MS)];
  if (options.signal) signals.push(options.signal);
  const signal = AbortSignal.any(signals);
  try {
    return await fetch(url(path, options.query), {
      method: options.method ?? "GET",
      headers: headersFor(options),
      body: bodyFor(options),
      credentials: "same-origin",
      signal,
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError({ status: 0, code: "unreachable", title: "The server cannot be reached", detail: "The server cannot be reached." });
  }
}

/** Sends a request and returns the raw answer; throws `ApiError` on every refusal. */
export async function request(path: string, options: RequestOptions = {}): Promise<Response> {
  let response = await send(path, options);
  const mayRefresh = response.status === 401 && !path.startsWith("/auth/");
  if (mayRefresh && (await refreshSession())) response = await send(path, options);
  if (!response.ok) throw await problemOf(response);
  return response;
}

export async function api<T>(path: string, options: RequestOptions = {}): Promise<T> {
  const response = await request(path, options);
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

/** For pages that a 404 means "there is none yet" (changes of a story without a branch). */
export async function apiOrNull<T>(path: string, options: RequestOptions = {}): Promise<T | null> {
  try {
    return await api<T>(path, options);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

export function idempotencyKey(): string {
  return crypto.randomUUID();
}
