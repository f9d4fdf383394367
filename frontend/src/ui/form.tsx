import { useId, type InputHTMLAttributes, type ReactNode, type SelectHTMLAttributes, type TextareaHTMLAttributes } from "react";
import { clsx } from "clsx";

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
      {help ? <p id={`${id}-help`} className="text-[12px] text-soft">{help}</p> : null}
      {error ? <p id={`${id}-error`} role="alert" className="text-[12px] text-bad">{error}</p> : null}
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

/** A filter: a select without a visible label of its own. */
export function FilterSelect({ label, value, onChange, options }: { label: string; value: string; onChange: (value: string) => void; options: { value: string; label: string }[] }) {
  return (
    <select aria-label={label} value={value} onChange={(event) => onChange(event.target.value)} className="h-7 rounded-md border border-line-strong bg-panel px-2 text-[12.5px] text-soft">
      {options.map((option) => (
        <option key={option.value} value={option.value}>{option.label}</option>
      ))}
    </select>
  );
}
