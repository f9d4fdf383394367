import { useRouter } from "@tanstack/react-router";
import { useEffect } from "react";
import { t } from "../i18n/en";
import { Button } from "../ui/button";

const RETRY_MS = 2_000;

/** Nobody answered who is signed in: the server restarts, or the line is down. Waits with the reader until the server is back, then shows the page that was asked for. */
export function Unreachable() {
  const router = useRouter();
  useEffect(() => {
    const timer = setInterval(() => void router.invalidate(), RETRY_MS);
    return () => clearInterval(timer);
  }, [router]);
  return (
    <main className="flex min-h-dvh flex-col items-center justify-center gap-3 px-4 text-center">
      <img src="/favicon.svg" alt="" width={40} height={40} />
      <h1 className="text-lg font-semibold">{t.errors.unreachable}</h1>
      <p role="status" className="max-w-md text-soft">{t.errors.unreachableDetail}</p>
      <Button onClick={() => void router.invalidate()}>{t.common.retry}</Button>
    </main>
  );
}
