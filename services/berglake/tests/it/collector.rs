//! A collector of OpenTelemetry in the test's process: the real protocol over gRPC, and all that was
//! received kept as it came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};

/// What was received.
#[derive(Clone, Default)]
struct Received {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// A collector that listens until it is dropped.
pub struct Collector {
    received: Received,
    address: SocketAddr,
    _runtime: Runtime,
}

impl Collector {
    /// Listens at a free port.
    pub fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let received = Received::default();
        let router = Router::new()
            .route_service(
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                TraceServiceServer::new(received.clone()),
            )
            .route_service(
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
                MetricsServiceServer::new(received.clone()),
            );
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            received,
            address,
            _runtime: runtime,
        }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans, in the order in which they came.
    pub fn spans(&self) -> Vec<Span> {
        let traces = self.received.traces.lock().unwrap();
        let resources = traces.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The attributes of the resource of the first spans.
    pub fn resource(&self) -> Vec<KeyValue> {
        let traces = self.received.traces.lock().unwrap();
        let first = &traces.first().expect("spans came").resource_spans[0];
        first.resource.clone().unwrap().attributes
    }

    /// The value of a metric's point with these attributes, as it was last received: the sum of a
    /// counter, the value of a gauge, the count of a histogram.
    pub fn metric(&self, name: &str, attributes: &[(&str, &str)]) -> Option<u64> {
        let has_all = |of: &[KeyValue]| {
            attributes
                .iter()
                .all(|(key, value)| text(of, key).as_deref() == Some(value))
        };
        let number = |value: Option<number_data_point::Value>| match value {
            Some(number_data_point::Value::AsInt(value)) => u64::try_from(value).ok(),
            Some(number_data_point::Value::AsDouble(value)) => Some(value as u64),
            None => None,
        };
        let metrics = self.received.metrics.lock().unwrap();
        let resources = metrics.iter().flat_map(|request| &request.resource_metrics);
        let scopes = resources.flat_map(|resource| &resource.scope_metrics);
        let named = scopes
            .flat_map(|scope| &scope.metrics)
            .filter(|metric| metric.name == name);
        named
            .flat_map(|metric| match metric.data.clone() {
                Some(metric::Data::Sum(sum)) => sum.data_points,
                Some(metric::Data::Gauge(gauge)) => gauge.data_points,
                _ => Vec::new(),
            })
            .filter(|point| has_all(&point.attributes))
            .filter_map(|point| number(point.value))
            .next_back()
    }

    /// How many values a histogram has seen with these attributes.
    pub fn count(&self, name: &str, attributes: &[(&str, &str)]) -> u64 {
        let metrics = self.received.metrics.lock().unwrap();
        let resources = metrics.iter().flat_map(|request| &request.resource_metrics);
        let scopes = resources.flat_map(|resource| &resource.scope_metrics);
        let named = scopes
            .flat_map(|scope| &scope.metrics)
            .filter(|metric| metric.name == name);
        named
            .flat_map(|metric| match metric.data.clone() {
                Some(metric::Data::Histogram(histogram)) => histogram.data_points,
                _ => Vec::new(),
            })
            .filter(|point| {
                let of = &point.attributes;
                attributes
                    .iter()
                    .all(|(key, value)| text(of, key).as_deref() == Some(value))
            })
            .map(|point| point.count)
            .next_back()
            .unwrap_or(0)
    }

    /// Everything that was received, as text.
    pub fn everything(&self) -> String {
        format!(
            "{:?} {:?}",
            self.received.traces.lock().unwrap(),
            self.received.metrics.lock().unwrap()
        )
    }
}

/// An attribute that is a whole number, as which queries of a trace store can compare it.
pub fn number(attributes: &[KeyValue], key: &str) -> Option<i64> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        any_value::Value::IntValue(number) => Some(number),
        other => panic!("{key} is no number: {other:?}"),
    }
}

/// The value of an attribute as text.
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    let AnyValue { value } = found.value.clone()?;
    match value? {
        any_value::Value::StringValue(text) => Some(text),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        any_value::Value::BoolValue(flag) => Some(flag.to_string()),
        any_value::Value::DoubleValue(number) => Some(number.to_string()),
        _ => None,
    }
}
