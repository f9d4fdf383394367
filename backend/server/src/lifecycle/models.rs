//! Which models there are: from the file that the settings name, else from what the environment gives access to.

use super::StartError;
use crate::config::{Config, ModelAccess};
use serde::Deserialize;
use std::path::Path;
use syndarix_llm::{
    Deployment, EndpointAccess, ModelGroup, ModelGroups, PriceTable, ProviderKind, Rates, Secret,
};
use url::Url;

/// What agent types ask for, with the model that serves it at Anthropic and at OpenAI.
/// From the dearest on: once a budget has reached its soft limit, the next one is asked instead. OpenAI's are those that
/// answer over chat completions, too, which its models for code alone do not: clients that write these are passed on as they are.
const GROUPS: [(&str, &str, &str); 4] = [
    ("high-reasoning", "claude-opus-5-5", "gpt-5.5"),
    ("code", "claude-sonnet-5", "gpt-5.4"),
    ("fast-response", "claude-haiku-5-5", "gpt-5.4-mini"),
    ("cost-optimized", "claude-haiku-5-5", "gpt-5.4-nano"),
];
/// The group that makes embeddings, and its model at OpenAI. Anthropic has none, whether a server of one's own has any is not
/// known, and the scripted endpoint writes only texts. Nothing is cheaper: vectors of two models do not compare.
const EMBEDDINGS: (&str, &str) = ("embeddings", "text-embedding-3-small");
/// What OpenAI embeds in one request, in tokens of all its texts together.
const EMBEDDINGS_WINDOW: u32 = 300_000;
/// Windows in tokens of the models above, the smallest of each vendor.
const ANTHROPIC_WINDOW: u32 = 200_000;
const OPENAI_WINDOW: u32 = 272_000;
const HOSTED_OUTPUT: u32 = 32_000;
/// Where OpenAI is asked.
const OPENAI: &str = "https://api.openai.com/v1";
/// What a self-hosted model is taken to have when no file says otherwise, in tokens.
const OWN_WINDOW: u32 = 128_000;
const OWN_OUTPUT: u32 = 8_192;
/// What Ollama is asked to hold of a conversation when no file says otherwise, in tokens: it takes memory for all of it.
const OLLAMA_WINDOW: u32 = 32_768;
/// The port of Ollama, whose models cost nothing per token.
const OLLAMA_PORT: u16 = 11_434;

/// The file's shape: `[[group]] name = "code"` with `[[group.chain]]` tables.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "group")]
    groups: Vec<ModelGroup>,
}

/// The model groups of these settings. None configured is no error here: runs say so when they need one.
pub fn groups_of(config: &Config) -> Result<ModelGroups, StartError> {
    let groups = match &config.models {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| StartError::Models(format!("{}: {error}", path.display())))?;
            let file: File = toml::from_str(&text)
                .map_err(|error| StartError::Models(format!("{}: {error}", path.display())))?;
            file.groups
        }
        None => from_environment(&config.model_access)?,
    };
    ModelGroups::new(groups).map_err(|error| StartError::Models(error.to_string()))
}

/// The prices of these settings: the table of this version, with the operator's rows.
pub fn prices_of(config: &Config) -> Result<PriceTable, StartError> {
    let table = PriceTable::embedded()
        .map_err(|error| StartError::Prices(format!("the built-in prices, line {error}")))?;
    match &config.prices {
        None => Ok(table),
        Some(path) => {
            let own = own_prices(path).map_err(StartError::Prices)?;
            table.with(&own).map_err(|error| StartError::Prices(format!("{}: {error}", path.display())))
        }
    }
}

/// The operator's rows. Errors: every fault of the file with its line.
fn own_prices(path: &Path) -> Result<PriceTable, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    PriceTable::from_toml(&text).map_err(|_| {
        let faults = PriceTable::faults(&text);
        faults.iter().map(|fault| format!("{}:{fault}", path.display())).collect::<Vec<_>>().join("; ")
    })
}

/// One chain for each group over everything there is access to. A server of one's own comes first: whoever names one
/// wants it used, and does not want to pay while it answers.
fn from_environment(access: &ModelAccess) -> Result<Vec<ModelGroup>, StartError> {
    let own = access.base_url.as_deref().map(|url| own_server(url, access)).transpose()?;
    let mut groups = Vec::new();
    for (place, (name, anthropic, openai)) in GROUPS.into_iter().enumerate() {
        let mut chain: Vec<Deployment> = own.iter().cloned().collect();
        if let Some(key) = &access.anthropic_key {
            let address = "https://api.anthropic.com/v1";
            chain.push(hosted(ProviderKind::Anthropic, address, anthropic, (key, ANTHROPIC_WINDOW))?);
        }
        if let Some(key) = &access.openai_key {
            chain.push(hosted(ProviderKind::OpenAi, OPENAI, openai, (key, OPENAI_WINDOW))?);
        }
        if !chain.is_empty() {
            groups.push(ModelGroup { cheaper: cheaper_than(place), ..ModelGroup::new(name, chain) });
        }
    }
    if let Some(key) = &access.openai_key {
        let (name, model) = EMBEDDINGS;
        let deployment = hosted(ProviderKind::OpenAi, OPENAI, model, (key, EMBEDDINGS_WINDOW))?;
        groups.push(ModelGroup::new(name, vec![deployment]));
    }
    Ok(groups)
}

/// The name of the next group.
fn cheaper_than(place: usize) -> Option<String> {
    GROUPS.get(place + 1).map(|(next, ..)| (*next).into())
}

fn hosted(
    provider: ProviderKind,
    address: &str,
    model: &str,
    (key, context_window): (&Secret, u32),
) -> Result<Deployment, StartError> {
    Ok(Deployment {
        model: model.into(),
        api_key: Some(key.clone()),
        context_window,
        max_output: HOSTED_OUTPUT,
        ..Deployment::new(format!("{provider}/{model}"), provider, url_of(address)?)
    })
}

fn own_server(address: &str, access: &ModelAccess) -> Result<Deployment, StartError> {
    let mut base_url = url_of(address)?;
    if base_url.path() == "/" {
        base_url.set_path("/v1");
    }
    let Some(model) = &access.model else {
        let sentence = "SYNDARIX_MODEL_BASE_URL is set: say in SYNDARIX_MODEL which model to ask for there";
        return Err(StartError::Models(sentence.into()));
    };
    let is_ollama = base_url.port() == Some(OLLAMA_PORT);
    let provider = if is_ollama { ProviderKind::Ollama } else { ProviderKind::OpenAiCompatible };
    Ok(Deployment {
        model: model.clone(),
        api_key: access.api_key.clone(),
        prices: is_ollama.then_some(Rates::FREE),
        context_window: if is_ollama { OLLAMA_WINDOW } else { OWN_WINDOW },
        max_output: OWN_OUTPUT,
        // One's own server is where one says it is.
        endpoint_access: EndpointAccess::PrivateNetwork,
        ..Deployment::new(format!("own/{model}"), provider, base_url)
    })
}

fn url_of(address: &str) -> Result<Url, StartError> {
    Url::parse(address)
        .map_err(|error| StartError::Models(format!("`{address}` is not a web address: {error}")))
}

/// The groups of a scripted endpoint: every call goes there, and everything it says is marked as simulated.
pub fn scripted_groups(endpoint: &Url) -> Result<ModelGroups, StartError> {
    let deployment = |group: &str| Deployment {
        model: "scripted-demo".into(),
        context_window: OWN_WINDOW,
        max_output: OWN_OUTPUT,
        endpoint_access: EndpointAccess::PrivateNetwork,
        ..Deployment::new(format!("scripted/{group}"), ProviderKind::Scripted, endpoint.clone())
    };
    let groups = GROUPS.iter().enumerate().map(|(place, (name, ..))| ModelGroup {
        cheaper: cheaper_than(place),
        ..ModelGroup::new(*name, vec![deployment(name)])
    });
    ModelGroups::new(groups.collect()).map_err(|error| StartError::Models(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains(access: &ModelAccess) -> Vec<(String, Vec<String>)> {
        let groups = from_environment(access).unwrap();
        let names = |group: &ModelGroup| group.chain.iter().map(|one| one.name.clone()).collect();
        groups.iter().map(|group| (group.name.clone(), names(group))).collect()
    }

    #[test]
    fn nothing_configured_is_no_group() {
        assert!(chains(&ModelAccess::default()).is_empty());
    }

    #[test]
    fn a_server_of_ones_own_comes_before_those_that_cost() {
        let access = ModelAccess {
            anthropic_key: Some(Secret::new("a-secret-key")),
            base_url: Some("http://localhost:11434".into()),
            model: Some("qwen3".into()),
            ..ModelAccess::default()
        };
        let chains = chains(&access);
        assert_eq!(chains.len(), GROUPS.len());
        assert_eq!(chains[0].1, ["own/qwen3", "anthropic/claude-opus-5-5"]);
        let own = own_server("http://localhost:11434", &access).unwrap();
        assert_eq!(own.base_url.as_str(), "http://localhost:11434/v1");
        assert_eq!((own.provider, own.prices), (ProviderKind::Ollama, Some(Rates::FREE)));
    }

    #[test]
    fn embeddings_are_made_where_openai_can_be_asked_and_no_group_leads_to_them() {
        let access = |openai_key| ModelAccess {
            anthropic_key: Some(Secret::new("a")),
            openai_key,
            ..ModelAccess::default()
        };
        let names =
            |access: &ModelAccess| chains(access).into_iter().map(|(name, _)| name).collect::<Vec<String>>();
        assert!(!names(&access(None)).contains(&"embeddings".to_owned()));

        let both = access(Some(Secret::new("o")));

        assert_eq!(names(&both).len(), GROUPS.len() + 1);
        let groups = ModelGroups::new(from_environment(&both).unwrap()).unwrap();
        let embeddings = groups.get("embeddings").unwrap();
        let chain: Vec<&str> = embeddings.chain.iter().map(|one| one.name.as_str()).collect();
        assert_eq!((chain, &embeddings.cheaper), (vec!["openai/text-embedding-3-small"], &None));
        assert!(groups.iter().all(|group| group.cheaper.as_deref() != Some("embeddings")));
    }

    #[test]
    fn every_group_but_the_last_names_a_cheaper_one_in_the_demonstration_too() {
        let scripted = scripted_groups(&url_of("http://127.0.0.1:1/v1").unwrap()).unwrap();
        let cheaper: Vec<Option<&str>> =
            GROUPS.iter().map(|(name, ..)| scripted.get(name).unwrap().cheaper.as_deref()).collect();
        assert_eq!(cheaper, [Some("code"), Some("fast-response"), Some("cost-optimized"), None]);
    }

    #[test]
    fn a_server_without_a_model_name_is_a_sentence() {
        let access = ModelAccess { base_url: Some("http://gpu:8000/v1".into()), ..ModelAccess::default() };
        let error = from_environment(&access).unwrap_err().to_string();
        assert!(error.contains("SYNDARIX_MODEL"), "{error}");
    }

    #[test]
    fn every_hosted_model_has_a_price() {
        let prices = syndarix_llm::PriceTable::embedded().unwrap();
        for (_, anthropic, openai) in GROUPS {
            assert!(!prices.price("anthropic", anthropic, 1).is_unknown(), "{anthropic}");
            assert!(!prices.price("openai", openai, 1).is_unknown(), "{openai}");
        }
        assert!(!prices.price("openai", EMBEDDINGS.1, 1).is_unknown());
    }
}
