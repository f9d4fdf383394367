import { describe, expect, it, vi } from "vitest";
import { BACKOFF_MAX_MS, SseParser, backoffDelay, followStream, type SseMessage } from "../src/api/sse";

const WIRE = ': keep-alive\n\nevent: story.created\nid: e:1\ndata: {"a":1}\n\ndata: one\ndata: two\n\nid: e:2\nevent: run.delta\ndata:x\n\n';

function parse(chunks: string[]): SseMessage[] {
  const parser = new SseParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
}

describe("the event stream parser", () => {
  const whole = parse([WIRE]);

  it("reads events, ids, multi-line data and skips comments", () => {
    expect(whole).toEqual([
      { event: "story.created", data: '{"a":1}', id: "e:1" },
      { event: "message", data: "one\ntwo", id: null },
      { event: "run.delta", data: "x", id: "e:2" },
    ]);
  });

  it("gives the same messages wherever the stream is cut", () => {
    for (let cut = 0; cut <= WIRE.length; cut += 1) expect(parse([WIRE.slice(0, cut), WIRE.slice(cut)])).toEqual(whole);
    expect(parse([...WIRE])).toEqual(whole);
  });

  it("accepts CR LF and lone CR line ends, also when cut between them", () => {
    for (const end of ["\r\n", "\r"]) {
      const wire = WIRE.replaceAll("\n", end);
      expect(parse([wire])).toEqual(whole);
      expect(parse([...wire])).toEqual(whole);
    }
  });

  it("drops a message that the stream ended in the middle of", () => {
    expect(parse(["data: half"])).toEqual([]);
  });

  it("remembers the reconnection time the server asks for, and no other", () => {
    const parser = new SseParser();
    parser.push("retry: 1500\nretry: soon\n\n");
    expect(parser.retry).toBe(1500);
  });

  it("refuses a line without end", () => {
    const parser = new SseParser();
    expect(() => parser.push("x".repeat(5_000_000))).toThrow(/too long/);
  });
});

describe("following a stream", () => {
  const stream = (text: string) => new Response(text, { status: 200 });

  it("resumes with the last id, backs off, and tells of a reset", async () => {
    const stop = new AbortController();
    const asked: (string | null)[] = [];
    const got: string[] = [];
    const slept: number[] = [];
    const onReset = vi.fn();
    const answers = [
      () => stream("id: e:1\ndata: a\n\nid: e:2\ndata: b\n\n"),
      () => new Response("busy", { status: 503 }),
      () => { throw new Error("no network"); },
      () => stream("event: reset\nid: e:9\ndata: {}\n\nid: e:10\ndata: c\n\n"),
    ];
    await followStream(
      {
        open: async (id) => {
          asked.push(id);
          const next = answers.shift();
          if (!next) {
            stop.abort();
            throw new Error("over");
          }
          return next();
        },
        onMessage: (message) => got.push(message.data),
        onReset,
        sleep: async (ms) => void slept.push(ms),
      },
      stop.signal,
    );
    expect(got).toEqual(["a", "b", "c"]);
    expect(asked).toEqual([null, "e:2", "e:2", "e:2", "e:10"]);
    expect(onReset).toHaveBeenCalledTimes(1);
    expect(slept).toHaveLength(4);
  });

  it("never waits longer than the cap, and never not at all", () => {
    for (let attempt = 0; attempt < 40; attempt += 1) {
      for (const random of [0, 0.5, 1]) {
        const delay = backoffDelay(attempt, () => random);
        expect(delay).toBeGreaterThanOrEqual(250);
        expect(delay).toBeLessThanOrEqual(BACKOFF_MAX_MS);
      }
    }
  });
});
