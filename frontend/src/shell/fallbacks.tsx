import { Link, useRouter, type ErrorComponentProps } from "@tanstack/react-router";
import { t } from "../i18n/en";
import { buttonClass } from "../ui/button";
import { EmptyState, InlineError, SkeletonRows } from "../ui/feedback";

export function RoutePending() {
  return <SkeletonRows rows={8} className="mx-auto w-full max-w-4xl p-6" />;
}

export function RouteError({ error, reset }: ErrorComponentProps) {
  const router = useRouter();
  return (
    <main className="mx-auto w-full max-w-2xl p-6">
      <InlineError
        error={error}
        onRetry={() => {
          reset();
          void router.invalidate();
        }}
      />
    </main>
  );
}

export function Missing() {
  return (
    <main className="mx-auto max-w-2xl">
      <EmptyState title={t.errors.missing} detail={t.errors.missingDetail} action={<Link to="/inbox" className={buttonClass("primary")}>{t.nav.inbox}</Link>} />
    </main>
  );
}
