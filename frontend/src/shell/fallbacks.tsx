import { Link, useRouter, type ErrorComponentProps } from "@tanstack/react-router";
import { t } from "../i18n/en";
import { buttonClass } from "../ui/button";
import { EmptyState, InlineError, SkeletonRows } from "../ui/feedback";

export function RoutePending() {
  return <SkeletonRows rows={8} className="page py-6" />;
}

export function RouteError({ error, reset }: ErrorComponentProps) {
  const router = useRouter();
  return (
    <div className="mx-auto w-full max-w-2xl p-6">
      <InlineError
        error={error}
        onRetry={() => {
          reset();
          void router.invalidate();
        }}
      />
    </div>
  );
}

export function Missing() {
  return (
    <div className="mx-auto max-w-2xl">
      <h1 className="sr-only">{t.errors.missing}</h1>
      <EmptyState title={t.errors.missing} detail={t.errors.missingDetail} action={<Link to="/inbox" className={buttonClass("primary")}>{t.nav.inbox}</Link>} />
    </div>
  );
}
