import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useRouter, useSearch } from "@tanstack/react-router";
import { useState, type FormEvent, type ReactNode } from "react";
import { register, signIn } from "../api/actions";
import { ApiError } from "../api/client";
import { t } from "../i18n/en";
import { safeNext } from "../navigation";
import { Button } from "../ui/button";
import { InlineError } from "../ui/feedback";
import { TextField } from "../ui/form";

function Frame({ title, children, foot }: { title: string; children: ReactNode; foot: ReactNode }) {
  return (
    <main className="flex min-h-dvh flex-col items-center justify-center px-4 py-10">
      <div className="w-full max-w-sm">
        <div className="mb-6 flex flex-col items-center gap-3 text-center">
          <img src="/favicon.svg" alt="" width={40} height={40} />
          <h1 className="text-lg font-semibold">{title}</h1>
          <p className="text-soft">{t.auth.claim}</p>
        </div>
        <div className="card p-5 shadow-sm">{children}</div>
        <p className="mt-4 text-center text-soft">{foot}</p>
      </div>
    </main>
  );
}

/** Signs in, then goes where the person wanted to go. */
function useEntry<V>(enter: (values: V) => Promise<void>) {
  const { next } = useSearch({ strict: false });
  const router = useRouter();
  const client = useQueryClient();
  return useMutation<void, unknown, V>({
    mutationFn: enter,
    onSuccess: () => {
      client.clear();
      router.history.push(safeNext(next));
    },
  });
}

export function LoginPage() {
  const { next } = useSearch({ from: "/login" });
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const entry = useEntry(() => signIn(email.trim(), password));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    entry.mutate(undefined as never);
  };
  const wrong = entry.error instanceof ApiError && (entry.error.status === 401 || entry.error.status === 400);
  return (
    <Frame title={t.auth.signInTitle} foot={<>{t.auth.noAccount} <Link to="/register" search={next ? { next } : {}} className="text-accent underline">{t.auth.register}</Link></>}>
      <form className="flex flex-col gap-3.5" onSubmit={submit}>
        {entry.isError ? <InlineError error={wrong ? new Error(t.auth.wrong) : entry.error} /> : null}
        <TextField label={t.auth.email} type="email" name="username" autoComplete="username" required autoFocus value={email} onChange={(event) => setEmail(event.target.value)} />
        <TextField label={t.auth.password} type="password" name="password" autoComplete="current-password" required value={password} onChange={(event) => setPassword(event.target.value)} />
        <Button type="submit" tone="primary" size="md" busy={entry.isPending}>{t.auth.signIn}</Button>
      </form>
    </Frame>
  );
}

export function RegisterPage() {
  const { next } = useSearch({ from: "/register" });
  const [form, setForm] = useState({ name: "", email: "", password: "", organisation: "" });
  const entry = useEntry(() => register({
    name: form.name.trim(), email: form.email.trim(), password: form.password,
    ...(form.organisation.trim() ? { organisation: form.organisation.trim() } : {}),
  }));
  const error = entry.error instanceof ApiError ? entry.error : null;
  const bind = (name: keyof typeof form) => ({
    value: form[name],
    error: error?.field(name),
    onChange: (event: { target: { value: string } }) => setForm({ ...form, [name]: event.target.value }),
  });
  return (
    <Frame title={t.auth.registerTitle} foot={<>{t.auth.haveAccount} <Link to="/login" search={next ? { next } : {}} className="text-accent underline">{t.auth.signIn}</Link></>}>
      <form className="flex flex-col gap-3.5" onSubmit={(event) => { event.preventDefault(); entry.mutate(undefined as never); }}>
        {entry.isError && !error?.body.errors?.length ? <InlineError error={entry.error} /> : null}
        <TextField label={t.auth.name} autoComplete="name" required autoFocus {...bind("name")} />
        <TextField label={t.auth.email} type="email" autoComplete="username" required {...bind("email")} />
        <TextField label={t.auth.password} type="password" autoComplete="new-password" required minLength={12} help={t.auth.passwordHelp} {...bind("password")} />
        <TextField label={t.auth.organisation} autoComplete="organization" help={t.auth.organisationHelp} {...bind("organisation")} />
        <Button type="submit" tone="primary" size="md" busy={entry.isPending}>{t.auth.register}</Button>
      </form>
    </Frame>
  );
}
