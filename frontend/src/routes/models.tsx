import { useQuery } from "@tanstack/react-query";
import { Waypoints } from "lucide-react";
import * as queries from "../api/queries";
import type { Membership } from "../api/types";
import { t } from "../i18n/en";
import { Groups } from "../models/Groups";
import { Providers } from "../models/Providers";
import { managed } from "../shell/project";
import { EmptyState, Loaded } from "../ui/feedback";
import { PageFrame } from "../ui/page";

/** Providers and groups of every organisation that a person manages. */
export function ModelsPage() {
  const me = useQuery(queries.me());
  return (
    <PageFrame title={t.models.title}>
      <p className="mb-3 max-w-3xl text-soft">{t.models.intro}</p>
      <Loaded query={me}>
        {(data) => {
          const mine = managed(data);
          return mine.length === 0
            ? <div className="card"><EmptyState icon={<Waypoints size={28} aria-hidden="true" />} title={t.models.nobody} detail={t.models.nobodyDetail} /></div>
            : mine.map((one) => <OfOrganisation key={one.id} organisation={one} />);
        }}
      </Loaded>
    </PageFrame>
  );
}

function OfOrganisation({ organisation: { id, name } }: { organisation: Membership }) {
  const providers = useQuery(queries.modelProviders(id));
  const groups = useQuery(queries.modelGroups(id));
  const deployments = useQuery(queries.modelDeployments(id));
  return (
    <section aria-label={t.models.of(name)} className="mb-10" data-organisation={id}>
      <h2 className="text-md font-semibold">{t.models.of(name)}</h2>
      <Providers organisation={id} query={providers} groups={groups.data ?? []} />
      <Groups organisation={id} query={groups} deployments={deployments.data ?? []} />
    </section>
  );
}
