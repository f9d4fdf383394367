import { useEffect, useId, useRef, useState, type InputHTMLAttributes, type ReactNode, type SelectHTMLAttributes, type TextareaHTMLAttributes } from "react";
import { clsx } from "clsx";
import { Select, type Option } from "./select";

interface FieldProps {
  label: string;
  help?: ReactNode;
  error?: string | undefined;
}

function Wrap({ id, label, help, error, children }: FieldProps & { id: string; children: ReactNode }) {
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="font-medium">{label}</label>
      {children}
      {help ? <p id={`${id}-help`} className="text-xs text-soft">{help}</p> : null}
      {error ? <p id={`${id}-error`} role="alert" className="text-xs text-bad">{error}</p> : null}
    </div>
  );
}

function describe(id: string, { help, error }: { help?: ReactNode; error?: string | undefined }) {
  const ids = [help ? `${id}-help` : "", error ? `${id}-error` : ""].filter(Boolean).join(" ");
  return { "aria-describedby": ids || undefined, "aria-invalid": error ? true : undefined } as const;
}

export function TextField({ label, help, error, className, ...rest }: FieldProps & InputHTMLAttributes<HTMLInputElement>) {
  const id = useId();
  return (
    <Wrap id={id} label={label} help={help} error={error}>
      <input id={id} {...describe(id, { help, error })} {...rest} className={clsx("field h-8", className)} />
    </Wrap>
  );
}

export function TextArea({ label, help, error, className, ...rest }: FieldProps & TextareaHTMLAttributes<HTMLTextAreaElement>) {
  const id = useId();
  return (
    <Wrap id={id} label={label} help={help} error={error}>
      <textarea id={id} {...describe(id, { help, error })} {...rest} className={clsx("field min-h-24", className)} />
    </Wrap>
  );
}

export function SelectField({ label, help, error, className, children, ...rest }: FieldProps & SelectHTMLAttributes<HTMLSelectElement>) {
  const id = useId();
  return (
    <Wrap id={id} label={label} help={help} error={error}>
      <select id={id} {...describe(id, { help, error })} {...rest} className={clsx("field h-8", className)}>
        {children}
      </select>
    </Wrap>
  );
}

/** A filter: its label is a part of what it shows. */
export function FilterSelect({ label, value, onChange, options }: { label: string; value: string; onChange: (value: string) => void; options: Option[] }) {
  return <Select label={label} value={value} onChange={onChange} options={options} className={clsx("h-7 max-w-56", value === options[0]?.value && "text-soft")} />;
}

/** Typing waits this long before it becomes a query. */
const TYPING_MS = 250;

/** A filter of words. The text stays here while it is typed; its owner (the address) hears of it when typing pauses. */
export function SearchInput({ label, value, onChange, className }: { label: string; value: string; onChange: (value: string) => void; className?: string }) {
  const [text, setText] = useState(value);
  const [seen, setSeen] = useState(value);
  const [told, setTold] = useState(value);
  if (value !== seen) {
    setSeen(value);
    // Cleared or navigated from outside: the text follows. Our own word coming back changes nothing.
    if (value !== told) {
      setText(value);
      setTold(value);
    }
  }
  const tell = useRef(onChange);
  useEffect(() => {
    tell.current = onChange;
  });
  useEffect(() => {
    const wanted = text.trim();
    if (wanted === told) return undefined;
    const timer = setTimeout(() => {
      setTold(wanted);
      tell.current(wanted);
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [text, told]);
  return <input type="search" aria-label={label} placeholder={label} value={text} onChange={(event) => setText(event.target.value)} className={clsx("field h-7 text-xs", className ?? "w-44")} />;
}
