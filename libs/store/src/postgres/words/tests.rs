use mediamesh_proto::TenantId;
use uuid::Uuid;

use super::*;
use crate::full_text::Words;

const TENANT: TenantId = TenantId(Uuid::from_u128(7));
const CORPUS: rank::Corpus = rank::Corpus {
    documents: 10,
    mean_tokens: 4.0,
};

#[test]
fn words_are_split_folded_and_stemmed() {
    assert_eq!(
        lexemes("IMG_2024 Lighthouses, CAFÉ cafe\u{301} Straße 東京 e-mail"),
        [
            "img",
            "2024",
            "lighthous",
            "cafe",
            "cafe",
            "straße",
            "東京",
            "e",
            "mail"
        ]
    );
    assert_eq!(lexemes("*)(\"'"), Vec::<String>::new());
}

#[test]
fn a_document_has_positions_weights_and_its_tenant() {
    let document = Document::new(TENANT, &[("red boat", 'B'), ("", 'C'), ("red", 'A')]);
    assert_eq!(
        document.tsvector,
        "'@00000000000000000000000000000007' 'boat':2B 'red':1B,5A"
    );
    assert_eq!(document.token_count, 3);
}

#[test]
fn words_and_phrases_become_a_query() {
    let words = Words::parse("beach \"red boats\" sun").expect("words");
    assert_eq!(
        all_of(TENANT, words.all()).as_deref(),
        Some("'@00000000000000000000000000000007' & 'beach' & ('red' <-> 'boat') & 'sun':*")
    );
}

#[test]
fn a_phrase_counts_where_its_words_follow_each_other() {
    let document = |text: &str| rank::Candidate {
        item_key: 1,
        token_count: 4,
        words: Document::new(TENANT, &[(text, 'B')]).tsvector,
    };
    let words = Words::parse("\"red boat\"").expect("words");
    let terms: Vec<_> = words
        .all()
        .iter()
        .filter_map(|wanted| rank::Term::new(wanted, &CORPUS, 2))
        .collect();
    let score = |text: &str| rank::score(&terms, &CORPUS, &[document(text)])[0].score;
    assert!(score("a red boat") > 0.0);
    assert!(score("red boat red boat") > score("a red boat"));
    assert_eq!(score("boat red"), 0.0);
}

/// What FTS5 makes of a text, in order.
fn by_fts5(text: &str) -> Vec<String> {
    use diesel::{
        Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection,
        connection::SimpleConnection as _, sql_query, sql_types::Text,
    };
    #[derive(QueryableByName)]
    struct Term {
        #[diesel(sql_type = Text)]
        term: String,
    }
    let mut conn = SqliteConnection::establish(":memory:").expect("memory");
    conn.batch_execute(
        "CREATE VIRTUAL TABLE t USING fts5 (x, tokenize = 'porter unicode61 remove_diacritics 2'); \
         CREATE VIRTUAL TABLE v USING fts5vocab (t, 'instance');",
    )
    .expect("FTS5 is built in");
    sql_query("INSERT INTO t VALUES (?)")
        .bind::<Text, _>(text)
        .execute(&mut conn)
        .expect("inserted");
    let terms = sql_query("SELECT term FROM v ORDER BY offset");
    let terms: Vec<Term> = terms.load(&mut conn).expect("terms");
    terms.into_iter().map(|row| row.term).collect()
}

#[test]
fn words_are_what_the_embedded_database_makes_of_them() {
    let words = "relational conditional rationally valency hesitancy digitizer conformably radically \
         differently vilely analogously vietnamization predication operator feudalism decisiveness \
         hopefulness callousness formality sensitivity sensibility triplicate formative formalize \
         electricity electrical hopeful goodness revival allowance inference airliner gyroscopic \
         adjustable defensible irritant replacement adjustment dependent adoption homologou \
         communism activate angularity homologous effective bowdlerize probate rate cease controll \
         roll caresses ponies ties caress cats feed agreed plastered bled motoring sing conflated \
         troubled sized hopping tanned falling hissing fizzed failing filing happy sky dying \
         generously photographs photography photographer lighthouses running skies flies a is 2024s";
    // FTS5 stems words with other letters too, byte by byte: Straße is not compared
    let signs = "Caf\u{e9} na\u{ef}ve \u{c5}ngstr\u{f6}m cafe\u{301} \u{6771}\u{4eac} \
         \u{41c}\u{43e}\u{441}\u{43a}\u{432}\u{430} \u{3b1}\u{3b8}\u{3ae}\u{3bd}\u{3b1} IMG_2024.jpg don't x-y 3.14 \u{1f600}";
    for text in [words, signs] {
        let (ours, theirs) = (lexemes(text), by_fts5(text));
        let differ: Vec<_> = ours
            .iter()
            .zip(&theirs)
            .filter(|(a, b)| a != b)
            .take(20)
            .collect();
        assert!(differ.is_empty(), "{differ:?}");
        assert_eq!(ours.len(), theirs.len());
    }
}
