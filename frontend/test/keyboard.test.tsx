import { cleanup, fireEvent, render } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import { activeShortcuts, matchKey, nameOf, useShortcuts, type Shortcut } from "../src/keyboard";

afterEach(cleanup);

const press = (key: string, extra: Partial<KeyboardEventInit> = {}) => ({ key, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...extra });

describe("names of keys", () => {
  it("are the same whatever the layout says about shift", () => {
    expect(nameOf(press("?", { shiftKey: true }))).toBe("?");
    expect(nameOf(press("A", { shiftKey: true }))).toBe("shift+a");
    expect(nameOf(press("ArrowRight", { shiftKey: true }))).toBe("shift+right");
    expect(nameOf(press("k", { metaKey: true }))).toBe("mod+k");
    expect(nameOf(press(" "))).toBe("space");
  });
});

describe("matching", () => {
  const bound = new Set(["a", "g a", "g i", "j"]);
  it("a chord's second key never runs the single key", () => {
    expect(matchKey("g", null, bound)).toEqual({ kind: "wait", first: "g" });
    expect(matchKey("a", "g", bound)).toEqual({ kind: "run", keys: "g a" });
    expect(matchKey("j", "g", bound)).toEqual({ kind: "none" });
  });
});

function Page({ shortcuts, children }: { shortcuts: Shortcut[]; children?: React.ReactNode }) {
  useShortcuts(shortcuts);
  return <div><input aria-label="text" /><button type="button">Press</button>{children}</div>;
}

const shortcut = (keys: string, run: () => void): Shortcut => ({ keys, label: keys, group: "g", run });

describe("shortcuts on a page", () => {
  it("run their command, and G A is not A", () => {
    const approve = vi.fn();
    const agents = vi.fn();
    render(<Page shortcuts={[shortcut("a", approve), shortcut("g a", agents)]} />);
    fireEvent.keyDown(document.body, { key: "g" });
    fireEvent.keyDown(document.body, { key: "a" });
    expect([agents.mock.calls.length, approve.mock.calls.length]).toEqual([1, 0]);
    fireEvent.keyDown(document.body, { key: "a" });
    expect(approve).toHaveBeenCalledTimes(1);
  });

  it("are silent while someone types, and leave Enter to the focused button", () => {
    const run = vi.fn();
    const { getByLabelText, getByRole } = render(<Page shortcuts={[shortcut("a", run), shortcut("enter", run), shortcut("mod+k", run)]} />);
    fireEvent.keyDown(getByLabelText("text"), { key: "a" });
    fireEvent.keyDown(getByRole("button"), { key: "Enter" });
    expect(run).not.toHaveBeenCalled();
    fireEvent.keyDown(getByLabelText("text"), { key: "k", ctrlKey: true });
    expect(run).toHaveBeenCalledTimes(1);
  });

  it("of the inner page win, and go when it goes", () => {
    const outer = vi.fn();
    const inner = vi.fn();
    const view = render(<Page shortcuts={[shortcut("a", outer)]}><Page key="inner" shortcuts={[shortcut("b", inner)]} /></Page>);
    expect(activeShortcuts().map((item) => item.keys).toSorted()).toEqual(["a", "b"]);
    view.rerender(<Page shortcuts={[shortcut("a", outer)]} />);
    expect(activeShortcuts().map((item) => item.keys)).toEqual(["a"]);
  });
});
