import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useLocation, useNavigate } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Activity, Bot, ChartColumn, Columns3, FolderGit2, Inbox, Keyboard, ListChecks, LogOut, Monitor, Moon, PanelLeft, Settings, ShieldCheck, Sun, Waypoints, X, type LucideIcon } from "lucide-react";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { signOut } from "../api/actions";
import * as queries from "../api/queries";
import { sessionState, subscribeSession } from "../api/session";
import { t } from "../i18n/en";
import { nextTheme, setTheme, useTheme } from "../theme";
import { IconButton } from "../ui/button";
import { Menu } from "../ui/menu";
import { PortalHost } from "../ui/portal";
import { Select } from "../ui/select";
import { sectionOf, type Section } from "./place";
import { useCurrentProject } from "./project";

export type ProjectPath =
  | "/projects/$projectId"
  | "/projects/$projectId/agents"
  | "/projects/$projectId/costs"
  | "/projects/$projectId/gateway"
  | "/projects/$projectId/activity"
  | "/projects/$projectId/audit"
  | "/projects/$projectId/settings";

const PROJECT_LINKS: { section: Section; to: ProjectPath; label: string; icon: LucideIcon; chord: string }[] = [
  { section: "board", to: "/projects/$projectId", label: t.nav.board, icon: Columns3, chord: "G B" },
  { section: "agents", to: "/projects/$projectId/agents", label: t.nav.agents, icon: Bot, chord: "G A" },
  { section: "costs", to: "/projects/$projectId/costs", label: t.nav.costs, icon: ChartColumn, chord: "G C" },
  { section: "gateway", to: "/projects/$projectId/gateway", label: t.nav.gateway, icon: Waypoints, chord: "G M" },
  { section: "activity", to: "/projects/$projectId/activity", label: t.nav.activity, icon: Activity, chord: "G V" },
  { section: "audit", to: "/projects/$projectId/audit", label: t.nav.audit, icon: ShieldCheck, chord: "G U" },
  { section: "settings", to: "/projects/$projectId/settings", label: t.nav.settings, icon: Settings, chord: "G S" },
];

/** The navigation beside the page. */
export function Rail({ collapsed, unresolved, onToggle, onHelp }: { collapsed: boolean; unresolved: number; onToggle: () => void; onHelp: () => void }) {
  return (
    <nav aria-label={t.nav.main} className={clsx("hidden flex-col border-r border-line bg-panel p-2 md:flex", collapsed ? "w-13" : "w-54")}>
      <div className="mb-2 flex h-7 items-center gap-2 px-1">
        {collapsed ? null : <Brand />}
        <IconButton label={collapsed ? t.nav.expand : t.nav.collapse} aria-expanded={!collapsed} className={collapsed ? "mx-auto" : "ml-auto"} onClick={onToggle}><PanelLeft size={16} aria-hidden="true" /></IconButton>
      </div>
      <RailContent narrow={collapsed} unresolved={unresolved} onHelp={onHelp} />
    </nav>
  );
}

/** The same navigation on a phone: a modal, so that Escape, the focus and what is behind it are the browser's business. */
export function Drawer({ open, onClose, unresolved, onHelp }: { open: boolean; onClose: () => void; unresolved: number; onHelp: () => void }) {
  const ref = useRef<HTMLDialogElement>(null);
  const [host, setHost] = useState<HTMLElement | null>(null);
  useEffect(() => {
    const dialog = ref.current;
    if (open && dialog && !dialog.open) dialog.showModal();
    if (!open && dialog?.open) dialog.close();
  }, [open]);
  return (
    // oxlint-disable-next-line jsx-a11y/click-events-have-key-events -- Escape closes it natively; the click is the backdrop's, or a link's
    <dialog
      ref={ref}
      aria-label={t.nav.main}
      onClose={onClose}
      onClick={(event) => {
        const { target } = event;
        // Any link leads on, also the one to the page that is open already.
        if (target === ref.current || (target instanceof Element && target.closest("a"))) onClose();
      }}
      className="m-0 h-dvh max-h-none w-72 max-w-[85vw] border-r border-line bg-panel p-0 shadow-2xl backdrop:bg-black/40 md:hidden"
    >
      {open ? (
        <div ref={setHost} className="flex h-full flex-col p-2">
          <PortalHost value={host}>
            <div className="mb-2 flex h-8 items-center gap-2 px-1"><Brand /><IconButton label={t.common.close} className="ml-auto" onClick={onClose}><X size={16} aria-hidden="true" /></IconButton></div>
            <nav aria-label={t.nav.main} className="flex min-h-0 flex-1 flex-col"><RailContent narrow={false} unresolved={unresolved} onHelp={() => { onClose(); onHelp(); }} /></nav>
          </PortalHost>
        </div>
      ) : null}
    </dialog>
  );
}

function Brand() {
  return (
    <Link to="/inbox" className="flex min-w-0 items-center gap-2 text-md font-semibold tracking-tight">
      <img src="/favicon.svg" alt="" width={20} height={20} />
      <span className="truncate">{t.product}</span>
    </Link>
  );
}

function RailContent({ narrow, unresolved, onHelp }: { narrow: boolean; unresolved: number; onHelp: () => void }) {
  const project = useCurrentProject();
  const here = sectionOf(useLocation().pathname);
  const look = (section: Section) => ({
    className: clsx("relative flex h-8 items-center gap-2.5 rounded-md px-2 max-md:h-10", here === section ? "bg-accent-wash font-medium text-accent" : "text-soft hover:bg-hover hover:text-ink"),
    "aria-current": here === section ? ("page" as const) : undefined,
    // The router marks what is above a page as well; here only the section is marked.
    activeOptions: { exact: true, includeSearch: false },
  });
  return (
    <>
      <ul className="flex flex-col gap-0.5">
        <li>
          <Link to="/inbox" {...look("inbox")} title={`${t.nav.inbox} (G I)`}>
            <Inbox size={16} aria-hidden="true" className="shrink-0" />
            <span className={narrow ? "sr-only" : ""}>{t.nav.inbox}</span>
            {unresolved > 0 ? (
              <span aria-label={t.nav.unresolved(unresolved)} role="img" className={clsx("rounded-full bg-accent-fill px-1.5 text-2xs font-medium text-white tabular", narrow ? "absolute -top-0.5 right-0" : "ml-auto")}>{unresolved > 99 ? "99+" : unresolved}</span>
            ) : null}
          </Link>
        </li>
        <li>
          <Link to="/projects" {...look("projects")} title={`${t.nav.projects} (G P)`}>
            <FolderGit2 size={16} aria-hidden="true" className="shrink-0" />
            <span className={narrow ? "sr-only" : ""}>{t.nav.projects}</span>
          </Link>
        </li>
        <li>
          <Link to="/jobs" {...look("jobs")} title={`${t.nav.jobs} (G J)`}>
            <ListChecks size={16} aria-hidden="true" className="shrink-0" />
            <span className={narrow ? "sr-only" : ""}>{t.nav.jobs}</span>
          </Link>
        </li>
      </ul>
      {project ? (
        <>
          {narrow ? <hr className="my-2 border-line" /> : <ProjectSwitch />}
          <ul className="flex flex-col gap-0.5">
            {PROJECT_LINKS.map(({ section, to, label, icon: Icon, chord }) => (
              <li key={to}>
                <Link to={to} params={{ projectId: project.id }} {...look(section)} title={`${label} (${chord})`}>
                  <Icon size={16} aria-hidden="true" className="shrink-0" />
                  <span className={narrow ? "sr-only" : ""}>{label}</span>
                </Link>
              </li>
            ))}
          </ul>
        </>
      ) : null}
      <RailFoot narrow={narrow} onHelp={onHelp} />
    </>
  );
}

function ProjectSwitch() {
  const navigate = useNavigate();
  const project = useCurrentProject();
  const list = useQuery(queries.projects());
  if (!project) return null;
  return (
    <div className="mt-4 mb-1.5">
      <Select
        label={t.nav.switchProject}
        value={project.id}
        onChange={(projectId) => void navigate({ to: "/projects/$projectId", params: { projectId } })}
        options={(list.data ?? [project]).map((item) => ({ value: item.id, label: item.name }))}
        className="h-8 w-full font-medium"
      />
    </div>
  );
}

function RailFoot({ narrow, onHelp }: { narrow: boolean; onHelp: () => void }) {
  const client = useQueryClient();
  const session = useSyncExternalStore(subscribeSession, sessionState);
  const theme = useTheme();
  const ThemeIcon = { system: Monitor, dark: Moon, light: Sun }[theme];
  const name = session.status === "signed_in" ? session.user.name : "";
  const leave = () => void signOut(client).catch(() => undefined);
  return (
    <div className={clsx("mt-auto flex gap-0.5 border-t border-line pt-2", narrow ? "flex-col items-center" : "items-center")}>
      <Menu
        label={t.nav.account}
        trigger={
          <button type="button" className="flex min-w-0 items-center gap-2 rounded-md px-1 py-1 hover:bg-hover">
            <span aria-hidden="true" className="flex size-6 shrink-0 items-center justify-center rounded-full bg-accent-wash text-2xs font-semibold text-accent">{name.slice(0, 1).toUpperCase()}</span>
            <span className="sr-only">{t.nav.account}: {narrow ? name : ""}</span>
            {narrow ? null : <span className="truncate text-soft">{name}</span>}
          </button>
        }
        items={[
          { label: t.nav.shortcuts, hint: "?", onSelect: onHelp },
          { label: t.nav.theme[nextTheme(theme)], onSelect: () => setTheme(nextTheme(theme)) },
          "separator",
          { label: t.nav.signOut, onSelect: leave },
        ]}
      />
      <IconButton label={t.nav.theme[theme]} className={narrow ? "" : "ml-auto"} onClick={() => setTheme(nextTheme(theme))}><ThemeIcon size={15} aria-hidden="true" /></IconButton>
      {narrow ? null : <IconButton label={t.nav.shortcuts} onClick={onHelp}><Keyboard size={15} aria-hidden="true" /></IconButton>}
      {narrow ? null : <IconButton label={t.nav.signOut} onClick={leave}><LogOut size={15} aria-hidden="true" /></IconButton>}
    </div>
  );
}
