import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import * as queries from "../api/queries";
import { t } from "../i18n/en";
import { nextTheme, setTheme, useTheme } from "../theme";
import { Dialog } from "../ui/dialog";
import { Status } from "../ui/status";
import { useCurrentProject } from "./project";

/** Search over what is loaded anyway (pages, projects, pending approvals, stories of the project). */
export function Palette({ open, onClose, onHelp }: { open: boolean; onClose: () => void; onHelp: () => void }) {
  return (
    <Dialog open={open} onClose={onClose} title={t.nav.palette} bare wide>
      <Commands onClose={onClose} onHelp={onHelp} />
    </Dialog>
  );
}

const ITEM = "flex cursor-pointer items-center gap-2 rounded-md px-2.5 py-2 data-[selected=true]:bg-raised";

function Commands({ onClose, onHelp }: { onClose: () => void; onHelp: () => void }) {
  const navigate = useNavigate();
  const theme = useTheme();
  const project = useCurrentProject();
  const projects = useQuery(queries.projects());
  const approvals = useQuery(queries.approvals());
  const stories = useQuery({ ...queries.stories(project?.id ?? ""), enabled: project !== null });
  const go = (action: () => void) => () => {
    onClose();
    action();
  };
  const pages = project
    ? ([
        [t.nav.board, "/projects/$projectId"], [t.nav.agents, "/projects/$projectId/agents"], [t.nav.costs, "/projects/$projectId/costs"], [t.nav.gateway, "/projects/$projectId/gateway"],
        [t.nav.activity, "/projects/$projectId/activity"], [t.nav.audit, "/projects/$projectId/audit"], [t.nav.settings, "/projects/$projectId/settings"],
      ] as const)
    : [];
  return (
    <Command label={t.nav.palette} loop>
      <Command.Input data-autofocus autoFocus placeholder={t.nav.paletteHint} className="w-full border-b border-line bg-transparent px-4 py-3 text-md outline-none" />
      <Command.List className="max-h-[50vh] overflow-y-auto p-1.5 [&_[cmdk-group-heading]]:px-2.5 [&_[cmdk-group-heading]]:pt-2 [&_[cmdk-group-heading]]:pb-1 [&_[cmdk-group-heading]]:text-2xs [&_[cmdk-group-heading]]:font-medium [&_[cmdk-group-heading]]:text-faint">
        <Command.Empty className="px-3 py-6 text-center text-soft">{t.nav.paletteEmpty}</Command.Empty>
        <Command.Group heading={t.groups.navigation}>
          <Command.Item className={ITEM} onSelect={go(() => void navigate({ to: "/inbox" }))}>{t.nav.inbox}</Command.Item>
          <Command.Item className={ITEM} onSelect={go(() => void navigate({ to: "/projects" }))}>{t.nav.projects}</Command.Item>
          <Command.Item className={ITEM} onSelect={go(() => void navigate({ to: "/jobs" }))}>{t.nav.jobs}</Command.Item>
          <Command.Item className={ITEM} onSelect={go(() => void navigate({ to: "/costs" }))}>{t.costs.allTitle}</Command.Item>
          <Command.Item className={ITEM} onSelect={go(() => void navigate({ to: "/models" }))}>{t.models.title}</Command.Item>
          {project ? pages.map(([label, to]) => (
            <Command.Item key={to} className={ITEM} onSelect={go(() => void navigate({ to, params: { projectId: project.id } }))}>{label}</Command.Item>
          )) : null}
        </Command.Group>
        <Command.Group heading={t.common.actions}>
          {project ? <Command.Item className={ITEM} onSelect={go(() => void navigate({ to: "/projects/$projectId", params: { projectId: project.id }, search: { new: "story" } }))}>{t.board.newStory}</Command.Item> : null}
          <Command.Item className={ITEM} onSelect={go(() => void navigate({ to: "/projects", search: { new: "1" } }))}>{t.projects.create}</Command.Item>
          <Command.Item className={ITEM} onSelect={go(() => setTheme(nextTheme(theme)))}>{t.keys.theme}</Command.Item>
          <Command.Item className={ITEM} onSelect={go(onHelp)}>{t.nav.shortcuts}</Command.Item>
        </Command.Group>
        {approvals.data?.items.length ? (
          <Command.Group heading={t.inbox.approvals}>
            {approvals.data.items.map((item) => (
              <Command.Item key={item.id} value={`${item.title} ${item.id}`} className={ITEM} onSelect={go(() => void navigate({ to: "/projects/$projectId/approvals/$approvalId", params: { projectId: item.project_id, approvalId: item.id } }))}>
                <span className="truncate">{item.title}</span><span className="ml-auto shrink-0 text-soft">{item.project_name}</span>
              </Command.Item>
            ))}
          </Command.Group>
        ) : null}
        {project && stories.data?.length ? (
          <Command.Group heading={project.name}>
            {stories.data.map((story) => (
              <Command.Item key={story.id} value={`#${story.number} ${story.title}`} className={ITEM} onSelect={go(() => void navigate({ to: "/projects/$projectId/stories/$storyId", params: { projectId: project.id, storyId: story.id } }))}>
                <span className="text-faint tabular">#{story.number}</span><span className="truncate">{story.title}</span><Status value={story.phase} className="ml-auto" />
              </Command.Item>
            ))}
          </Command.Group>
        ) : null}
        <Command.Group heading={t.nav.projects}>
          {projects.data?.map((item) => (
            <Command.Item key={item.id} value={`${item.name} ${item.id}`} className={ITEM} onSelect={go(() => void navigate({ to: "/projects/$projectId", params: { projectId: item.id } }))}>{item.name}</Command.Item>
          ))}
        </Command.Group>
      </Command.List>
    </Command>
  );
}
