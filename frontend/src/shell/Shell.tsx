import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useLocation, useNavigate, useParams, useRouter } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Activity, Bot, ChartColumn, Columns3, FolderGit2, Inbox, Keyboard, LogOut, Menu as MenuIcon, Monitor, Moon, PanelLeft, Search, Settings, ShieldCheck, Sun, X, type LucideIcon } from "lucide-react";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { signOut } from "../api/actions";
import * as queries from "../api/queries";
import { sessionState, subscribeSession } from "../api/session";
import { t } from "../i18n/en";
import { useShortcuts } from "../keyboard";
import { nextTheme, setTheme, useTheme } from "../theme";
import { IconButton, Kbd } from "../ui/button";
import { Menu } from "../ui/menu";
import { Dot } from "../ui/status";
import { Breadcrumbs } from "./Breadcrumbs";
import { Palette } from "./Palette";
import { ShortcutHelp } from "./ShortcutHelp";
import { useLiveStatus, useLiveStream } from "./live";
import { rememberProject, useCurrentProject } from "./project";

const RAIL_KEY = "syndarix-rail";

function storedCollapsed(): boolean {
  try {
    return localStorage.getItem(RAIL_KEY) === "collapsed";
  } catch {
    return false;
  }
}

export function Shell() {
  const session = useSyncExternalStore(subscribeSession, sessionState);
  const router = useRouter();
  useEffect(() => {
    // The place to come back to is read once: the address changes as soon as the way out begins.
    if (session.status === "signed_out") void router.navigate({ to: "/login", search: { next: router.state.location.href } });
  }, [session.status, router]);
  if (session.status !== "signed_in") return null;
  return <SignedIn />;
}

function SignedIn() {
  useLiveStream();
  const [collapsed, setCollapsed] = useState(storedCollapsed);
  const location = useLocation();
  // The drawer belongs to the page it was opened on: following a link closes it.
  const [drawerOn, setDrawerOn] = useState<string | null>(null);
  const drawer = drawerOn === location.pathname;
  const setDrawer = (open: boolean) => setDrawerOn(open ? location.pathname : null);
  const [palette, setPalette] = useState(false);
  const [help, setHelp] = useState(false);
  const main = useRef<HTMLElement>(null);
  const theme = useTheme();
  const { projectId } = useParams({ strict: false });
  const inbox = useQuery(queries.approvals());
  useEffect(() => {
    if (projectId) rememberProject(projectId);
  }, [projectId]);
  const unresolved = inbox.data?.unresolved ?? 0;
  useEffect(() => {
    document.title = `${unresolved > 0 ? `(${unresolved}) ` : ""}Syndarix`;
  }, [unresolved]);

  const toggleRail = () => {
    setCollapsed(!collapsed);
    try {
      localStorage.setItem(RAIL_KEY, collapsed ? "open" : "collapsed");
    } catch {
      // The choice then lasts for this page.
    }
  };
  useChords();
  useShortcuts([
    { keys: "mod+k", label: t.keys.palette, group: t.groups.general, run: () => setPalette(true) },
    { keys: "?", label: t.keys.help, group: t.groups.general, run: () => setHelp(true) },
    { keys: "[", label: t.keys.rail, group: t.groups.general, run: toggleRail },
    { keys: "shift+t", label: t.keys.theme, group: t.groups.general, run: () => setTheme(nextTheme(theme)) },
  ]);

  return (
    <div className="flex h-dvh">
      <a href="#content" onClick={(event) => { event.preventDefault(); main.current?.focus(); }} className="sr-only z-50 rounded-md bg-accent-fill px-3 py-2 text-white focus:not-sr-only focus:absolute focus:top-2 focus:left-2">
        {t.common.skip}
      </a>
      <Rail collapsed={collapsed} drawer={drawer} unresolved={unresolved} onToggle={toggleRail} onCloseDrawer={() => setDrawer(false)} onHelp={() => setHelp(true)} />
      <div className="flex min-w-0 flex-1 flex-col">
        <header className="flex h-11 shrink-0 items-center gap-2 border-b border-line bg-panel px-3">
          <IconButton label={t.nav.openMenu} className="md:hidden" onClick={() => setDrawer(true)}><MenuIcon size={17} aria-hidden="true" /></IconButton>
          <Breadcrumbs />
          <div className="ml-auto flex items-center gap-1.5">
            <LiveIndicator />
            <button type="button" onClick={() => setPalette(true)} className="flex h-7 items-center gap-2 rounded-md border border-line-strong px-2 text-soft hover:bg-hover">
              <Search size={14} aria-hidden="true" />
              <span className="max-lg:sr-only">{t.common.search}</span>
              <Kbd keys="Ctrl K" />
            </button>
          </div>
        </header>
        <main id="content" ref={main} tabIndex={-1} className="relative min-h-0 flex-1 overflow-y-auto outline-none">
          <Outlet />
        </main>
      </div>
      <Palette open={palette} onClose={() => setPalette(false)} onHelp={() => setHelp(true)} />
      <ShortcutHelp open={help} onClose={() => setHelp(false)} />
    </div>
  );
}

function useChords() {
  const navigate = useNavigate();
  const project = useCurrentProject();
  const group = t.groups.navigation;
  const inProject = (keys: string, label: string, to: ProjectPath) => ({
    keys, label, group, run: () => void (project && navigate({ to, params: { projectId: project.id } })),
  });
  useShortcuts([
    { keys: "g i", label: t.nav.inbox, group, run: () => void navigate({ to: "/inbox" }) },
    { keys: "g p", label: t.nav.projects, group, run: () => void navigate({ to: "/projects" }) },
    inProject("g b", t.nav.board, "/projects/$projectId"),
    inProject("g a", t.nav.agents, "/projects/$projectId/agents"),
    inProject("g c", t.nav.costs, "/projects/$projectId/costs"),
    inProject("g v", t.nav.activity, "/projects/$projectId/activity"),
    inProject("g u", t.nav.audit, "/projects/$projectId/audit"),
    inProject("g s", t.nav.settings, "/projects/$projectId/settings"),
  ]);
}

type ProjectPath =
  | "/projects/$projectId"
  | "/projects/$projectId/agents"
  | "/projects/$projectId/costs"
  | "/projects/$projectId/activity"
  | "/projects/$projectId/audit"
  | "/projects/$projectId/settings";

const PROJECT_LINKS: { to: ProjectPath; label: string; icon: LucideIcon; chord: string; exact?: boolean }[] = [
  { to: "/projects/$projectId", label: t.nav.board, icon: Columns3, chord: "G B", exact: true },
  { to: "/projects/$projectId/agents", label: t.nav.agents, icon: Bot, chord: "G A" },
  { to: "/projects/$projectId/costs", label: t.nav.costs, icon: ChartColumn, chord: "G C" },
  { to: "/projects/$projectId/activity", label: t.nav.activity, icon: Activity, chord: "G V" },
  { to: "/projects/$projectId/audit", label: t.nav.audit, icon: ShieldCheck, chord: "G U" },
  { to: "/projects/$projectId/settings", label: t.nav.settings, icon: Settings, chord: "G S" },
];

const LINK = "flex h-8 items-center gap-2.5 rounded-md px-2 text-soft hover:bg-hover hover:text-ink";
const ACTIVE = "bg-raised! text-ink! font-medium";

function Rail({ collapsed, drawer, unresolved, onToggle, onCloseDrawer, onHelp }: {
  collapsed: boolean; drawer: boolean; unresolved: number; onToggle: () => void; onCloseDrawer: () => void; onHelp: () => void;
}) {
  const project = useCurrentProject();
  const narrow = collapsed && !drawer;
  return (
    <>
      {drawer ? <button type="button" aria-label={t.common.close} onClick={onCloseDrawer} className="fixed inset-0 z-30 bg-black/40 md:hidden" /> : null}
      <nav aria-label={t.nav.main} className={clsx("z-30 flex-col border-r border-line bg-panel p-2", narrow ? "w-13" : "w-54", drawer ? "fixed inset-y-0 left-0 flex" : "hidden md:flex")}>
        <div className="mb-2 flex h-7 items-center gap-2 px-1">
          {narrow ? null : (
            <Link to="/inbox" className="flex min-w-0 items-center gap-2 font-semibold">
              <img src="/favicon.svg" alt="" width={20} height={20} />
              <span className="truncate">Syndarix</span>
            </Link>
          )}
          {drawer ? (
            <IconButton label={t.common.close} className="ml-auto" onClick={onCloseDrawer}><X size={16} aria-hidden="true" /></IconButton>
          ) : (
            <IconButton label={collapsed ? t.nav.expand : t.nav.collapse} aria-expanded={!collapsed} className={narrow ? "mx-auto" : "ml-auto"} onClick={onToggle}><PanelLeft size={16} aria-hidden="true" /></IconButton>
          )}
        </div>
        <ul className="flex flex-col gap-0.5">
          <li>
            <Link to="/inbox" className={clsx(LINK, "relative")} activeProps={{ className: ACTIVE, "aria-current": "page" }} title={`${t.nav.inbox} (G I)`}>
              <Inbox size={16} aria-hidden="true" className="shrink-0" />
              <span className={narrow ? "sr-only" : ""}>{t.nav.inbox}</span>
              {unresolved > 0 ? (
                <span aria-label={t.nav.unresolved(unresolved)} role="img" className={clsx("rounded-full bg-accent-fill px-1.5 text-2xs font-medium text-white tabular", narrow ? "absolute -top-0.5 right-0" : "ml-auto")}>{unresolved > 99 ? "99+" : unresolved}</span>
              ) : null}
            </Link>
          </li>
          <li>
            <Link to="/projects" className={LINK} activeOptions={{ exact: true }} activeProps={{ className: ACTIVE, "aria-current": "page" }} title={`${t.nav.projects} (G P)`}>
              <FolderGit2 size={16} aria-hidden="true" className="shrink-0" />
              <span className={narrow ? "sr-only" : ""}>{t.nav.projects}</span>
            </Link>
          </li>
        </ul>
        {project ? (
          <>
            {narrow ? <hr className="my-2 border-line" /> : <ProjectSwitch />}
            <ul className="flex flex-col gap-0.5">
              {PROJECT_LINKS.map(({ to, label, icon: Icon, chord, exact }) => (
                <li key={to}>
                  <Link to={to} params={{ projectId: project.id }} className={LINK} activeOptions={{ exact: exact ?? false, includeSearch: false }} activeProps={{ className: ACTIVE, "aria-current": "page" }} title={`${label} (${chord})`}>
                    <Icon size={16} aria-hidden="true" className="shrink-0" />
                    <span className={narrow ? "sr-only" : ""}>{label}</span>
                  </Link>
                </li>
              ))}
            </ul>
          </>
        ) : null}
        <RailFoot narrow={narrow} onHelp={onHelp} />
      </nav>
    </>
  );
}

function ProjectSwitch() {
  const navigate = useNavigate();
  const project = useCurrentProject();
  const list = useQuery(queries.projects());
  if (!project) return null;
  return (
    <div className="mt-4 mb-1 px-1">
      <select
        aria-label={t.nav.switchProject}
        value={project.id}
        onChange={(event) => void navigate({ to: "/projects/$projectId", params: { projectId: event.target.value } })}
        className="w-full truncate rounded-md border border-line bg-panel px-1.5 py-1 text-[12.5px] font-medium text-ink"
      >
        {(list.data ?? [project]).map((item) => <option key={item.id} value={item.id}>{item.name}</option>)}
      </select>
    </div>
  );
}

function RailFoot({ narrow, onHelp }: { narrow: boolean; onHelp: () => void }) {
  const client = useQueryClient();
  const session = useSyncExternalStore(subscribeSession, sessionState);
  const theme = useTheme();
  const ThemeIcon = { system: Monitor, dark: Moon, light: Sun }[theme];
  const name = session.status === "signed_in" ? session.user.name : "";
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
          { label: t.nav.signOut, onSelect: () => void signOut(client).catch(() => undefined) },
        ]}
      />
      <IconButton label={t.nav.theme[theme]} className={narrow ? "" : "ml-auto"} onClick={() => setTheme(nextTheme(theme))}><ThemeIcon size={15} aria-hidden="true" /></IconButton>
      {narrow ? null : <IconButton label={t.nav.shortcuts} onClick={onHelp}><Keyboard size={15} aria-hidden="true" /></IconButton>}
      {narrow ? null : <IconButton label={t.nav.signOut} onClick={() => void signOut(client).catch(() => undefined)}><LogOut size={15} aria-hidden="true" /></IconButton>}
    </div>
  );
}

function LiveIndicator() {
  const status = useLiveStatus();
  return (
    <span role="status" className="flex items-center gap-1.5 text-[12px] text-soft" data-live={status}>
      <Dot tone={status === "open" ? "ok" : "warn"} live={status !== "open"} />
      <span className={status === "open" ? "hidden lg:inline" : "hidden sm:inline"}>{t.nav.live[status]}</span>
    </span>
  );
}
