import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { useState } from "react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { useShortcuts } from "../src/keyboard";
import { Disclosure } from "../src/ui/disclosure";
import { Cost } from "../src/ui/entity";
import { SearchInput } from "../src/ui/form";
import { Select } from "../src/ui/select";

afterEach(cleanup);

describe("a filter of words", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const field = () => screen.getByLabelText<HTMLInputElement>("Filter");
  const type = (value: string) => fireEvent.change(field(), { target: { value } });

  function Page({ heard, late }: { heard: (value: string) => void; late?: boolean }) {
    const [value, setValue] = useState("");
    // An address that follows slowly, as it does while a page is busy.
    const tell = (next: string) => { heard(next); if (late) setTimeout(() => setValue(next), 50); else setValue(next); };
    return <><SearchInput label="Filter" value={value} onChange={tell} /><button type="button" onClick={() => setValue("")}>Clear</button></>;
  }

  it("loses no letter, and tells of a pause only", () => {
    const heard = vi.fn();
    render(<Page heard={heard} />);
    for (const text of ["t", "ta", "tax"]) type(text);
    expect([field().value, heard.mock.calls.length]).toEqual(["tax", 0]);
    act(() => void vi.advanceTimersByTime(300));
    expect(heard.mock.calls).toEqual([["tax"]]);
  });
  it("keeps what is typed while its own word comes back", () => {
    render(<Page heard={() => undefined} late />);
    type("ta");
    act(() => void vi.advanceTimersByTime(260));
    type("tax");
    act(() => void vi.advanceTimersByTime(60));
    expect(field().value).toBe("tax");
  });
  it("is emptied when it is cleared from outside", () => {
    render(<Page heard={() => undefined} />);
    type("tax");
    act(() => void vi.advanceTimersByTime(300));
    fireEvent.click(screen.getByText("Clear"));
    expect(field().value).toBe("");
  });
});

describe("what is folded away", () => {
  it("is rendered when it is opened", () => {
    const body = vi.fn(() => <p>Body</p>);
    const Body = body;
    const { container } = render(<Disclosure summary="More"><Body /></Disclosure>);
    expect(body).not.toHaveBeenCalled();
    const details = container.querySelector("details");
    if (details) details.open = true;
    fireEvent(details ?? container, new Event("toggle"));
    expect(screen.getByText("Body")).toBeTruthy();
  });
});

describe("a choice", () => {
  const options = [{ value: "", label: "Status: All" }, { value: "active", label: "Active" }];
  it("is made by keyboard, and no key of its menu is a command of the page", () => {
    const chosen = vi.fn();
    const command = vi.fn();
    function Page() {
      useShortcuts([{ keys: "a", label: "a", group: "g", run: command }]);
      return <Select label="Status" value="" onChange={chosen} options={options} />;
    }
    render(<Page />);
    const trigger = screen.getByRole("button", { name: "Status: All" });
    fireEvent.keyDown(trigger, { key: "Enter" });
    const item = screen.getByRole("menuitemradio", { name: "Active" });
    fireEvent.keyDown(item, { key: "a" });
    expect(command).not.toHaveBeenCalled();
    fireEvent.click(item);
    expect(chosen).toHaveBeenCalledWith("active");
  });
});

describe("a sum of money", () => {
  it("is one number, and says so when nothing of it is real", () => {
    const text = (real: number, simulated: number) => render(<Cost real={real} simulated={simulated} />).container.textContent;
    expect([text(0, 50_000), text(120_000, 50_000), text(0, 0)]).toEqual(["≈ $0.05 simulated", "$0.12", "$0.00"]);
  });
});
